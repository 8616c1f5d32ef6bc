"""llama.cpp: policy by build, read from its sources b4000 to v0.5.0 and measured on b11549."""

from fitserve.engines.contract import Engine
from fitserve.engines.llama_cpp.candidates import candidates, splits
from fitserve.engines.llama_cpp.command import command
from fitserve.engines.llama_cpp.constraints import blockers, kv_formats
from fitserve.engines.llama_cpp.log_figures import given_options, log_figures, outcome
from fitserve.engines.llama_cpp.memory import budget, cache_bytes
from fitserve.engines.llama_cpp.rules import PACKAGE, facts, is_newer, normal_version, options_version, versions
from fitserve.engines.option_lists import option_names
from fitserve.foundation.facts import load_toml

ENGINE = Engine(
    id="llama.cpp",
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
    places_layers=True,
)
