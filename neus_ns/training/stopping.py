"""Ctrl-C, and a scheduler's SIGTERM: the step under way is finished, so that what was trained can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class StopRequest:
    """Hears the first signal that asks to stop; the second one stops at once, as if nobody had listened."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def heard(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within, the first signal calls `stop`. Python lets the main thread alone listen."""

        def first(number: int, frame: object) -> None:
            del frame
            self.signal = signal.Signals(number)
            self.listen_no_longer()
            stop()

        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGINT, signal.SIGTERM):
                # A command in the background of a script is told to ignore Ctrl-C, and goes on ignoring it.
                if signal.getsignal(each) is signal.SIG_IGN:
                    continue
                # None: a handler that was not set by Python, which cannot set it again either.
                self._before[each] = signal.signal(each, first) or signal.SIG_DFL
        try:
            yield
        finally:
            self.listen_no_longer()

    def listen_no_longer(self) -> None:
        """Signals do again what they did before."""
        while self._before:
            signal.signal(*self._before.popitem())

    @property
    def exit_code(self) -> int:
        """What a shell calls a program that a signal has ended."""
        assert self.signal is not None
        return 128 + self.signal
