"""When requests arrive: gaps of a gamma distribution, as `vllm bench serve` draws them (vllm/benchmarks/serve.py)."""

import itertools
import random


def arrival_times(count: int, rate_per_s: float, burstiness: float, seed: int) -> list[float]:
    """Seconds after the start at which each request arrives.

    Burstiness 1 is a Poisson process, less is burstier, more is more even. The times are stretched so that the last
    stands at count / rate, which keeps throughput from depending on the seed.
    """
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    scale = 1.0 / (rate_per_s * burstiness)
    times = list(itertools.accumulate(chance.gammavariate(burstiness, scale) for _ in range(count)))
    if times[-1] <= 0:
        return [0.0] * count
    factor = count / rate_per_s / times[-1]
    return [time * factor for time in times]
