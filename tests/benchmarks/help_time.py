"""Seconds of `ns-train --help` with and without the plugin, in turns.

    python -m tests.benchmarks.help_time [--rounds 5]

"Without" hides our entry points from the discovery; everything else is the same process start.
"""

import argparse
import statistics
import subprocess
import sys
import time

WITHOUT = """
import importlib.metadata as metadata
found = metadata.entry_points
def without_ours(**selection):
    if not selection.get("group", "").startswith("nerfstudio."):
        return found(**selection)
    return metadata.EntryPoints(point for point in found(**selection) if not point.value.startswith("neus_ns."))
metadata.entry_points = without_ours
"""
RUN = """
import sys
sys.argv = ["ns-train", "--help"]
from nerfstudio.scripts.train import entrypoint
entrypoint()
"""


def seconds(code: str, expect_ours: bool) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode != 0 or ("neus-hash" in done.stdout) != expect_ours:
        raise SystemExit(f"ns-train --help failed, or lists the wrong methods:\n{done.stderr[-2000:]}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    pairs = [(seconds(RUN, True), seconds(WITHOUT + RUN, False)) for _ in range(rounds + 1)][1:]
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"ns-train --help: {ours:.2f} s with neus_ns, {bare:.2f} s without, difference {ours - bare:+.2f} s")


if __name__ == "__main__":
    main()
