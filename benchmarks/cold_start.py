"""CPU time, wall time and peak memory of `fitserve plan` from a cold process.

usage: python benchmarks/cold_start.py [RUNS]

Each run is a new process; the first one, which may write byte code and fill the file cache, is not counted. Printed are
the least (what the program needs) and the median (what a busy machine makes of it). CPU time is that of the program, user and
system; on the wall a busy machine adds its waiting. Goal: under 0.5 s and 100 MB.
"""

import os
import statistics
import subprocess
import sys
import time

_COMMAND = [
    sys.executable, "-m", "fitserve", "plan", "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "--gpu", "a100-sxm-80gb", "--context", "8192", "--concurrency", "1",
]  # fmt: skip
_GOAL_S, _GOAL_MB = 0.5, 100


def _run() -> tuple[float, float, float]:
    """Seconds on the wall and of CPU, and peak resident memory in MB of one run."""
    started = time.perf_counter()
    process = subprocess.Popen(_COMMAND, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6


def main() -> None:
    """Prints one line a figure."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    _run()
    seconds, busy, megabytes = zip(*(_run() for _ in range(runs)), strict=True)
    print(f"CPU     least {min(busy):.3f} s   median {statistics.median(busy):.3f} s   goal {_GOAL_S} s")
    print(f"wall    least {min(seconds):.3f} s   median {statistics.median(seconds):.3f} s   goal {_GOAL_S} s")
    print(f"memory  peak  {max(megabytes):.1f} MB                     goal {_GOAL_MB} MB   ({runs} runs)")


if __name__ == "__main__":
    main()
