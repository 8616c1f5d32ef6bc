"""Ollama: a mirror of llama.cpp. From 0.30 on it starts llama-server of a pinned build; before it had runners of its own."""

from collections.abc import Mapping

from fitserve.engines.contract import Engine
from fitserve.engines.mirroring import Parents
from fitserve.engines.ollama.command import command
from fitserve.engines.ollama.constraints import blockers, kv_formats
from fitserve.engines.ollama.memory import budget, given_options, translate
from fitserve.engines.ollama.rules import PACKAGE, RELEASES, default_context_tokens, facts
from fitserve.engines.option_lists import option_names
from fitserve.foundation.facts import load_toml

_PARENT = "llama.cpp"


def mirror(parents: Mapping[str, Engine]) -> Engine:
    """The engine, over the llama.cpp that the registry loaded."""
    behind = Parents(engine="ollama", by_family={"gguf": parents[_PARENT]}, translate=translate)
    return Engine(
        id="ollama",
        package=PACKAGE,
        versions=RELEASES.versions,
        native_os=tuple(facts()["identity"]["native_os"]),
        facts=facts(),
        status=load_toml(PACKAGE, "status.toml"),
        candidates=lambda model, machine, version: behind.candidates(model, machine),
        splits=lambda model, machine, version: behind.splits(model, machine),
        blockers=lambda deployment: blockers(deployment, behind),
        budget=lambda deployment: budget(deployment, behind),
        command=lambda deployment: command(deployment, behind),
        default_context_tokens=default_context_tokens,
        kv_formats=lambda deployment: kv_formats(deployment, behind),
        log_figures=behind.log_figures,
        given_options=lambda given: given_options(given, behind),
        outcome=behind.outcome,
        cache_bytes=behind.cache_bytes,
        known_options=lambda version: option_names(PACKAGE, RELEASES.newest),
        parse_version=RELEASES.normal,
        is_newer=RELEASES.is_newer,
        places_layers=True,
    )
