"""Time of one speed estimate of a batching engine, first and warm, and what loading the module and its data costs.

usage: python benchmarks/speed_estimate.py [RUNS]

Goal: under 10 ms for an estimate, under 60 ms for the first one with its data.
"""

import statistics
import sys
import time

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.registry import engine
from fitserve.hardware.identify import device
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format

_CASES = (
    ("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm-80gb", 1, "bf16"),
    ("openai/gpt-oss-120b", "h200-sxm-141gb", 2, "mxfp4"),
    ("deepseek-ai/DeepSeek-R1", "b200-sxm-180gb", 8, "fp8-block"),
)


def _prepared() -> list[tuple[Deployment, MemoryBudget]]:
    made = []
    for name, gpu, tp, weight_format in _CASES:
        deployment = Deployment(
            model=catalog_model(name), machine=Machine(devices=(device(gpu),) * tp, host=Host()), engine="vllm",
            engine_version="0.19.0", weight_format=parse_format(weight_format), tp=tp, context_tokens=8192,
        )  # fmt: skip
        made.append((deployment, engine("vllm").budget(deployment)))
    return made


def main() -> None:
    """Prints one line a figure."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    prepared = _prepared()
    started = time.perf_counter()
    from fitserve.predict.batched import batched_speed
    from fitserve.predict.types import Load

    loads = [Load(prompt_tokens=1024, output_tokens=512, concurrent_requests=64)]
    loads.append(Load(prompt_tokens=1024, output_tokens=512, rate_per_s=4.0))
    batched_speed(*prepared[0], loads[0])
    print(f"first (import, data, one estimate)  {1e3 * (time.perf_counter() - started):6.2f} ms   goal 60 ms")
    for load in loads:
        for deployment, budget in prepared:
            batched_speed(deployment, budget, load)
            seconds = []
            for _ in range(runs):
                started = time.perf_counter()
                batched_speed(deployment, budget, load)
                seconds.append(time.perf_counter() - started)
            kind = "closed loop" if load.rate_per_s is None else "arrivals"
            name = deployment.model.id.rpartition("/")[2]
            print(f"{name:28} {kind:12} median {1e3 * statistics.median(seconds):6.2f} ms   goal 10 ms")


if __name__ == "__main__":
    main()
