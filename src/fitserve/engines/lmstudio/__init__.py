"""LM Studio: a mirror of llama.cpp for GGUF files and of MLX for MLX checkpoints, driven by its command line `lms`."""

from collections.abc import Mapping

from fitserve.engines.contract import Engine
from fitserve.engines.lmstudio.command import command
from fitserve.engines.lmstudio.constraints import blockers, kv_formats
from fitserve.engines.lmstudio.memory import budget, translate
from fitserve.engines.lmstudio.rules import FAMILIES, PACKAGE, RELEASES, facts
from fitserve.engines.mirroring import Parents
from fitserve.engines.option_lists import option_names
from fitserve.foundation.facts import load_toml


def mirror(parents: Mapping[str, Engine]) -> Engine:
    """The engine, over the parents that the registry loaded; a family whose parent is missing is not offered."""
    by_family = {family: parents[name] for family, name in FAMILIES.items() if name in parents}
    behind = Parents(engine="lmstudio", by_family=by_family, translate=translate)
    return Engine(
        id="lmstudio",
        package=PACKAGE,
        versions=RELEASES.versions,
        native_os=tuple(facts()["identity"]["native_os"]),
        facts=facts(),
        status=load_toml(PACKAGE, "status.toml"),
        candidates=lambda model, machine, version: behind.candidates(model, machine),
        splits=lambda model, machine, version: behind.splits(model, machine),
        blockers=lambda deployment: blockers(deployment, behind),
        budget=lambda deployment: budget(deployment, behind),
        command=command,
        kv_formats=kv_formats,
        log_figures=behind.log_figures,
        given_options=behind.given_options,
        outcome=behind.outcome,
        cache_bytes=behind.cache_bytes,
        known_options=lambda version: option_names(PACKAGE, RELEASES.newest),
        parse_version=RELEASES.normal,
        is_newer=RELEASES.is_newer,
        makes_on_load=behind.makes_on_load,
        places_layers=True,
    )
