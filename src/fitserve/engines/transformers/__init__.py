"""Hugging Face Transformers (`transformers serve`, or a script): policy by release, from the PyPI releases 4.28 to 5.23."""

from fitserve.engines.contract import Engine
from fitserve.engines.figures import no_given_options, outcome, server_figures
from fitserve.engines.option_lists import option_names
from fitserve.engines.transformers.candidates import candidates, splits
from fitserve.engines.transformers.command import command
from fitserve.engines.transformers.constraints import blockers, kv_formats
from fitserve.engines.transformers.memory import budget, cache_bytes
from fitserve.engines.transformers.rules import PACKAGE, RELEASES, facts
from fitserve.foundation.facts import load_toml

ENGINE = Engine(
    id="transformers",
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
    known_options=lambda version: option_names(PACKAGE, RELEASES.nearest(version)),
    parse_version=RELEASES.normal,
    is_newer=RELEASES.is_newer,
    makes_on_load=frozenset({"bnb-4bit", "bnb-8bit"}),
    places_layers=True,
)
