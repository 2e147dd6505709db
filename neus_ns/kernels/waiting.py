"""How long OpenMP's threads stay awake for more work, in commands that start before torch is loaded.

`resting` can only send them to sleep at once, which costs a step of many short operations an eighth of its time in
waking them again. GOMP_SPINCOUNT tells libgomp a middle way, but only while torch loads it.
"""

import os
import sys

# Rounds of waiting, some 50 microseconds: longer than what lies between two operations of torch, much shorter than a
# kernel of ours, from which waiting threads would take the time.
_ROUNDS = 5000
# With one of these the user has decided.
CHOSEN_BY_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def stay_awake_briefly() -> None:
    """Let torch's threads wait so long and then sleep; too late, and without effect, where torch is loaded already."""
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOSEN_BY_USER):
        os.environ["GOMP_SPINCOUNT"] = str(_ROUNDS)
