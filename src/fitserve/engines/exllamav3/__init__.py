"""ExLlamaV3 through TabbyAPI: EXL3 weights of any width, a cache of 2 to 8 bits; read from releases 0.0.1 to 1.6.5."""

from fitserve.engines.contract import Engine
from fitserve.engines.exllamav3.candidates import candidates, splits
from fitserve.engines.exllamav3.command import command
from fitserve.engines.exllamav3.constraints import blockers, kv_formats
from fitserve.engines.exllamav3.log_figures import cache_bytes, given_options, log_figures
from fitserve.engines.exllamav3.memory import budget
from fitserve.engines.exllamav3.rules import PACKAGE, RELEASES, facts, options_version
from fitserve.engines.figures import outcome
from fitserve.engines.option_lists import option_names
from fitserve.foundation.facts import load_toml

ENGINE = Engine(
    id="exllamav3",
    package=PACKAGE,
    versions=RELEASES.versions,
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
    known_options=lambda version: option_names(PACKAGE, options_version(version)),
    parse_version=RELEASES.normal,
    is_newer=RELEASES.is_newer,
    needs_accelerator=True,
    places_layers=True,
)
