"""SGLang: policy by version, read from its sources 0.4.0 to 0.5.23."""

from fitserve.engines.contract import Deployment, Engine
from fitserve.engines.figures import cache_bytes, no_given_options, outcome, server_figures
from fitserve.engines.sglang.candidates import candidates, splits
from fitserve.engines.sglang.command import command
from fitserve.engines.sglang.constraints import blockers, kv_formats
from fitserve.engines.sglang.memory import budget, kv_elements
from fitserve.engines.sglang.rules import FACTS, PACKAGE, known_options, releases
from fitserve.foundation.facts import load_toml


def _cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    return cache_bytes(deployment, sequences, part, kv_elements(deployment)[1])


ENGINE = Engine(
    id="sglang",
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
    is_newer=releases().is_newer,
    makes_on_load=frozenset(FACTS.table["runtime_quantization"]),
    needs_accelerator=True,
)
