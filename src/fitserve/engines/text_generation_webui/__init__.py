"""text-generation-webui (TextGen): a mirror of the loaders it offers, llama.cpp, ExLlamaV3 and Transformers."""

from collections.abc import Mapping

from fitserve.engines.contract import Engine
from fitserve.engines.mirroring import Parents
from fitserve.engines.option_lists import option_names
from fitserve.engines.text_generation_webui.command import command
from fitserve.engines.text_generation_webui.constraints import blockers, kv_formats
from fitserve.engines.text_generation_webui.memory import budget, translate
from fitserve.engines.text_generation_webui.rules import PACKAGE, RELEASES, facts, feature
from fitserve.foundation.facts import load_toml


def mirror(parents: Mapping[str, Engine]) -> Engine:
    """The engine, over the parents that the registry loaded; a family whose parent is missing is not offered."""
    by_family = {
        family: parents[row["engine"]] for family, row in feature("loaders").items() if row["engine"] in parents
    }
    behind = Parents(engine="text-generation-webui", by_family=by_family, translate=translate)
    return Engine(
        id="text-generation-webui",
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
        kv_formats=lambda deployment: kv_formats(deployment, behind),
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
