"""vLLM: policy by version, read from its sources 0.2.7 to 0.33.0 and measured on 0.19.0 and 0.32.0."""

from fitserve.engines.contract import Engine
from fitserve.engines.option_lists import option_names
from fitserve.engines.vllm.candidates import candidates, splits
from fitserve.engines.vllm.command import command
from fitserve.engines.vllm.constraints import blockers, kv_formats
from fitserve.engines.vllm.log_figures import given_options, log_figures, outcome
from fitserve.engines.vllm.memory import budget, cache_bytes
from fitserve.engines.vllm.rules import (
    PACKAGE,
    facts,
    is_newer,
    json_keys,
    normal_version,
    options_version,
    registries,
    versions,
)
from fitserve.foundation.facts import load_toml

ENGINE = Engine(
    id="vllm",
    package=PACKAGE,
    versions=versions(),
    native_os=tuple(facts()["identity"]["native_os"]),
    facts=facts(),
    status=load_toml(PACKAGE, "status.toml"),
    candidates=candidates,
    splits=splits,
    blockers=blockers,
    budget=budget,
    command=command,
    kv_formats=kv_formats,
    log_figures=log_figures,
    given_options=given_options,
    outcome=outcome,
    cache_bytes=cache_bytes,
    options_version=options_version,
    known_options=lambda version: option_names(PACKAGE, options_version(version)),
    parse_version=normal_version,
    is_newer=is_newer,
    makes_on_load=frozenset(facts()["runtime_quantization"]),
    json_keys=json_keys,
    registries=registries,
    needs_accelerator=True,
)
