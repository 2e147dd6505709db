"""The one exception for what the user can mend: a sentence that says what is wrong, where, and what to do."""

import sys
from types import TracebackType


class InputError(ValueError):
    """Bad input. The message is a complete sentence for the user; commands print it without a traceback."""


def print_input_errors_plainly() -> None:
    """Let an InputError that ends the program print its sentence alone, whichever nerfstudio command was started.

    ns-eval, ns-render and ns-viewer build our pipeline themselves and catch nothing, so the only place left is Python's
    last one. Every other exception goes on to whoever had the hook before.
    """
    earlier = sys.excepthook
    if getattr(earlier, "prints_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, InputError):
            print(error, file=sys.stderr)
        else:
            earlier(kind, error, traceback)

    hook.prints_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
