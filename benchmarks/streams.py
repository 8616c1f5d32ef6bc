"""Time of one estimate of a single stream, with everything read.

usage: python benchmarks/streams.py [RUNS]

Goal: 10 ms for an estimate of a model seen before (rates at one depth), which a search makes hundreds of.
"""

import statistics
import sys
import time

from fitserve.engines.contract import Deployment
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.models.names import resolve_name
from fitserve.predict.streams import stream_rates

_GOAL_S = 0.010
_MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "openai/gpt-oss-120b", "Qwen/Qwen3-Next-80B-A3B-Instruct")


def _deployment(name: str) -> Deployment:
    return Deployment(
        model=catalog_model(resolve_name(name).id), machine=Machine(devices=(identify("rtx-4090").device,), host=Host()),
        engine="llama.cpp", engine_version="b9000", weight_format=parse_format("gguf:Q4_K_M"), context_tokens=8192,
    )  # fmt: skip


def main() -> None:
    """Prints one line a model."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    for name in _MODELS:
        made = _deployment(name)
        started = time.perf_counter()
        stream_rates(made, 512, 0)
        first = time.perf_counter() - started
        warm = []
        for depth in range(runs):
            started = time.perf_counter()
            stream_rates(made, 512 + depth, 100 * depth)
            warm.append(time.perf_counter() - started)
        figures = f"first {first * 1e3:6.2f} ms   median {statistics.median(warm) * 1e3:6.2f} ms"
        print(f"{name:42s} {figures}   goal {_GOAL_S * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
