"""The training clock: how far along a run is, by iterations or by minutes."""

import threading
import time
from collections.abc import Callable


class TrainingClock:
    """Progress in [0, 1] by iterations, by minutes, or, when both limits are given, by whichever is further along.

    Seconds run from the first training step. Set-up before it and pauses are not counted; evaluation and saving are,
    because a user who asks for ten minutes waits through them too. The seconds live in the checkpoint, so a resumed run
    continues where it was. The viewer pauses from its own thread, hence the lock.
    """

    def __init__(
        self, max_iterations: int | None, max_minutes: float | int | None, now: Callable[[], float] = time.monotonic
    ) -> None:
        if max_iterations is None and max_minutes is None:
            raise ValueError("A training clock needs a number of iterations, a number of minutes, or both.")
        self.max_iterations = max_iterations
        self.max_minutes = max_minutes
        self._now = now
        self._lock = threading.Lock()
        self._banked = 0.0
        self._running_since: float | None = None
        self._started = False

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those of the run this one resumes included."""
        with self._lock:
            return self._read()

    def _read(self) -> float:
        return self._banked + (0.0 if self._running_since is None else self._now() - self._running_since)

    def start(self) -> None:
        """Start counting at the first training step; later calls change nothing."""
        with self._lock:
            if not self._started:
                self._started = True
                self._running_since = self._now()

    def pause(self) -> None:
        """Stop counting until `resume`."""
        with self._lock:
            self._banked = self._read()
            self._running_since = None

    def resume(self) -> None:
        """Count again after a pause; a clock that has not started waits for its first step."""
        with self._lock:
            if self._started and self._running_since is None:
                self._running_since = self._now()

    def progress(self, step: int) -> float:
        """The share of the run done after `step` iterations, at this moment."""
        shares = []
        if self.max_iterations is not None:
            shares.append(step / self.max_iterations)
        if self.max_minutes is not None:
            shares.append(self.seconds / (60.0 * self.max_minutes))
        return min(max(shares), 1.0)

    def finished(self, step: int) -> bool:
        """Whether the run is over after `step` iterations, at this moment."""
        return self.progress(step) >= 1.0

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        with self._lock:
            self._banked = float(state["seconds"])
