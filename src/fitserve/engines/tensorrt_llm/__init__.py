"""TensorRT-LLM: `trtllm-serve` with the PyTorch backend, from its documentation and sources 1.1 to 1.4.0rc1."""

from fitserve.engines.contract import Deployment, Engine
from fitserve.engines.figures import cache_bytes, no_given_options, outcome, server_figures
from fitserve.engines.tensorrt_llm.candidates import candidates, splits
from fitserve.engines.tensorrt_llm.command import command
from fitserve.engines.tensorrt_llm.constraints import blockers, kv_formats
from fitserve.engines.tensorrt_llm.memory import budget, kv_elements
from fitserve.engines.tensorrt_llm.rules import FACTS, PACKAGE, is_newer, known_options, releases
from fitserve.foundation.facts import load_toml


def _cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    return cache_bytes(deployment, sequences, part, kv_elements(deployment)[1])


ENGINE = Engine(
    id="tensorrt-llm",
    package=PACKAGE,
    versions=releases().versions,
    native_os=tuple(FACTS.table["identity"]["native_os"]),
    facts=FACTS.table,
    status=load_toml(PACKAGE, "status.toml"),
    candidates=candidates,
    splits=splits,
    blockers=blockers,
    budget=budget,
    command=command,
    kv_formats=kv_formats,
    log_figures=server_figures,
    given_options=no_given_options,
    outcome=outcome,
    cache_bytes=_cache_bytes,
    known_options=known_options,
    parse_version=releases().normal,
    is_newer=is_newer,
    needs_accelerator=True,
)
