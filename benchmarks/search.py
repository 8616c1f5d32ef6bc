"""How long the search takes: one estimate, all plans of a model on eight GPUs, the whole catalogue on one machine.

`python benchmarks/search.py` prints the least of some runs, in CPU seconds of this process (other work on the machine hardly
counts) and on the wall.
"""

import time
from collections.abc import Callable

from fitserve.cli.verbs import world
from fitserve.plan.answer import estimate, fit, plan
from fitserve.plan.request import EstimateRequest, FitRequest, PlanRequest

MODEL = "Qwen/Qwen3-32B"


def report(name: str, goal_s: float, runs: int, work: Callable[[], object]) -> None:
    """The least time of some runs."""
    found = []
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (min(column) for column in zip(*found, strict=True))
    print(f"{name:34} CPU {cpu:7.3f} s   wall {wall:7.3f} s   goal {goal_s} s   ({runs} runs)")


def main() -> None:
    """All of them."""
    here = world()
    fixed = EstimateRequest.read(
        model=MODEL, gpu=("h100:2",), engine=("vllm",), format="fp8", context=8192, concurrency=8
    )
    many = EstimateRequest.read(
        model=MODEL, gpu=("h100:2",), engine=("vllm",), format="fp8", context=8192, concurrency=256, ttft="1s"
    )
    eight = PlanRequest.read(model=MODEL, gpu=("h100:8",), concurrency=32)
    whole = FitRequest.read(gpu=("rtx-4090:2",))
    report("estimate, warm", 0.01, 20, lambda: estimate(fixed, here, simulates=False))
    report("the same, its workload simulated", 0.3, 20, lambda: estimate(fixed, here))
    report("the same, 256 users", 0.3, 5, lambda: estimate(many, here))
    report("plan of one model on 8 GPUs", 1, 5, lambda: plan(eight, here))
    report("fit, whole catalogue x all formats", 3, 3, lambda: fit(whole, here))


if __name__ == "__main__":
    main()
