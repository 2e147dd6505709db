"""Ctrl-C, and a scheduler's SIGTERM: the step under way is finished, so that what was trained can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopRequest:
    """Hears the first signal that asks to stop; the second one stops at once, as if nobody had listened."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @contextmanager
    def heard(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within, the first signal calls `stop`. Python lets the main thread alone listen."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # None: a handler that was not set by Python, which cannot set it again either.
        before = {each: signal.getsignal(each) or signal.SIG_DFL for each in (signal.SIGINT, signal.SIGTERM)}

        def listen_no_longer() -> None:
            for each, handler in before.items():
                signal.signal(each, handler)

        def first(number: int, frame: object) -> None:
            del frame
            self.signal = signal.Signals(number)
            listen_no_longer()
            stop()

        for each in before:
            signal.signal(each, first)
        try:
            yield
        finally:
            listen_no_longer()

    @property
    def exit_code(self) -> int:
        """What a shell calls a program that a signal has ended."""
        assert self.signal is not None
        return 128 + self.signal
