"""Speed of the serving simulation: requests a second, times real time at 512 users, and growth up to a million.

usage: python benchmarks/simulate.py [MOST_REQUESTS]

The step times are a simple affine law in the range of an 8B to 70B model on a data-centre GPU, so that the figures are
those of the simulation and not of a step model; two lines put a slower step model behind a table. Goals: 10,000
requests/s, 5,000 times real time at 512 users, and a cost that grows no faster than the requests. Rates are those of
CPU time, which other work on the machine does not change much; the wall time stands beside it.
"""

import resource
import sys
import time
from dataclasses import dataclass

from fitserve.predict.arrivals import Arrivals, Bursts, ClosedLoop, Poisson, Traffic, Uniform
from fitserve.predict.scheduling import Scheduling, StepTimes
from fitserve.predict.simulate import simulate
from fitserve.predict.step_table import StepTable

_USERS = 512


@dataclass(frozen=True, slots=True)
class _Law:
    """A step that is bound by memory, with prefill bound by compute; `work` rounds of arithmetic make it slow."""

    work: int = 0

    def decode_s(self, batch: float, context_tokens: float) -> float:
        """Weights, a little for each sequence, and the cache."""
        sum(range(self.work))
        return 0.008 + 2e-5 * batch + 2.5e-8 * context_tokens

    def prefill_s(self, chunk_tokens: float, past_tokens: float) -> float:
        """Matrices, and attention to what came before."""
        return self.mixed_s(0, 0, chunk_tokens, past_tokens)

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float) -> float:
        """Both."""
        sum(range(self.work))
        attention = 1e-9 * chunk_tokens * (past_tokens + chunk_tokens / 2)
        return 0.008 + 2e-5 * batch + 2.5e-8 * context_tokens + 4e-5 * chunk_tokens + attention


def _line(
    name: str, times: StepTimes, arrivals: Arrivals, count: int, kv_tokens: int | None, mixes: bool = True
) -> None:
    policy = Scheduling(
        max_num_seqs=_USERS, max_batched_tokens=8192, kv_tokens=kv_tokens, block_tokens=16, mixes_decode=mixes
    )
    lengths = Uniform.below(1024, 0.8)
    traffic = Traffic(prompt=lengths, output=lengths, arrivals=arrivals, request_count=count)
    started, busy = time.perf_counter(), time.process_time()
    figures = simulate(times, policy, traffic)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    print(
        f"{name:38s} {count:9,d} requests {seconds:7.3f} s ({busy:7.3f} s of CPU) {count / busy:8,.0f} requests/s "
        f"{figures.makespan_s / busy:7,.0f} x real time  {figures.preemptions:6,d} preemptions {peak_mb:4.0f} MB"
    )


def main() -> None:
    """Prints one line a run."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    law, users = _Law(), ClosedLoop(_USERS)
    _line("512 users", law, users, 20_000, None)
    _line("512 users, room for about 450", law, users, 20_000, 700_000)
    _line("512 users, room for about 140", law, users, 20_000, 200_000)
    _line("512 users, prefill in its own steps", law, users, 20_000, None, mixes=False)
    _line("Poisson, 8 a second", law, Poisson(8.0), 20_000, None)
    _line("all at once", law, Bursts(), 20_000, None)
    _line("512 users, slow step model in a table", StepTable(_Law(work=10_000)), users, 5_120, None)
    _line("one estimate: 512 users, 2 rounds", StepTable(_Law(work=10_000)), users, 1_024, None)
    count = 1_000
    while count <= most:
        _line("512 users, growth", law, users, count, None)
        count *= 10


if __name__ == "__main__":
    main()
