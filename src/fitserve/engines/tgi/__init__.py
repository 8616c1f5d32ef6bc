"""Text Generation Inference, archived: policy of 3.x from its documentation, with what replaces it on every plan."""

from fitserve.engines.contract import Engine
from fitserve.engines.figures import no_given_options, outcome, server_figures
from fitserve.engines.option_lists import option_names
from fitserve.engines.tgi.candidates import candidates, splits
from fitserve.engines.tgi.command import command
from fitserve.engines.tgi.constraints import blockers, kv_formats
from fitserve.engines.tgi.memory import budget, cache_bytes
from fitserve.engines.tgi.rules import PACKAGE, RELEASES, facts, feature, options_version
from fitserve.foundation.facts import load_toml

ENGINE = Engine(
    id="tgi",
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
    log_figures=server_figures,
    given_options=no_given_options,
    outcome=outcome,
    cache_bytes=cache_bytes,
    known_options=lambda version: option_names(PACKAGE, options_version(version)),
    parse_version=RELEASES.normal,
    is_newer=RELEASES.is_newer,
    makes_on_load=frozenset(name for name, value in feature("formats").items() if value),
    needs_accelerator=True,
)
