"""What Ollama refuses or does differently from the llama.cpp inside: releases, cache types, import of files, options."""

import re
from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.mirroring import Parents, file_name, plain_name
from fitserve.engines.ollama.modelfile import can_name
from fitserve.engines.ollama.origin import library_tag, origin
from fitserve.engines.ollama.rules import (
    LLAMA_SERVER_SINCE,
    architectures,
    default_context_tokens,
    feature,
    first_release,
    gguf_architecture,
    known_names,
    llama_cpp_build,
    runs_llama_server,
    source,
)
from fitserve.engines.releases import at_least
from fitserve.foundation.reasons import Reason, Source, not_supported, note, warning

_TABLE = Source("source_code", "https://github.com/ollama/ollama, 245 tags scanned", "2026-11-20")
_OWN = {
    "architecture_too_new",
    "architecture_build_undated",
    "kv_format_not_supported",
    "option_unknown",
    "gguf_file_needed",
}
"""Reasons of llama.cpp that Ollama's own tables answer."""
_UNDATED = "architecture_build_undated"


def blockers(deployment: Deployment, behind: Parents) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    inside = behind.blockers(deployment)
    if behind.of(deployment) is None:
        return inside
    name = gguf_architecture(deployment.model)
    is_undated = any(reason.code == _UNDATED for reason in inside)
    dropped = _OWN | ({"no_gguf_converter"} if name in architectures() else set())
    return (
        *(reason for reason in inside if reason.code not in dropped),
        *_architecture(deployment, name, is_undated),
        *_cache(deployment),
        *_file(deployment),
        *_options(deployment),
        *_defaults(deployment),
    )


def _architecture(deployment: Deployment, name: str | None, is_undated: bool) -> Iterator[Reason]:
    version, row = deployment.engine_version, architectures().get(name or "")
    gone: dict[str, str] = feature("architectures_dropped_at_llama_server")
    if name is None:
        return
    if name in gone and runs_llama_server(version):
        yield not_supported(
            "architecture_dropped", source("architectures_dropped_at_llama_server"), engine="ollama", architecture=name,
            version=version, gone_in=LLAMA_SERVER_SINCE, last_version=gone[name],
        )  # fmt: skip
    elif row is None and not runs_llama_server(version):
        yield not_supported("architecture_not_listed", _TABLE, engine="ollama", architecture=name, version=version)
    elif row is None and is_undated:
        yield warning(
            "architecture_pin_undated", _TABLE, engine="ollama", architecture=name, version=version,
            build=llama_cpp_build(version),
        )  # fmt: skip
    elif row is not None and not row["at_or_before"] and not at_least(version, first_release(row)):
        yield not_supported(
            "architecture_too_new", _TABLE, engine="ollama", architecture=name, version=version,
            first_version=first_release(row),
        )  # fmt: skip
    elif row is not None and row["llama_cpp_runner"] is None and not runs_llama_server(version):
        yield warning("library_model_only", _TABLE, engine="ollama", architecture=name, version=version)


def _cache(deployment: Deployment) -> Iterator[Reason]:
    options = {plain_name(name): value for name, value in deployment.options.items()}
    kv_format = options.get("ollama-kv-cache-type", deployment.kv_format).lower()
    if kv_format != "auto" and kv_format not in feature("kv_types"):
        yield not_supported(
            "kv_format_not_supported", source("kv_types"), engine="ollama", kv_format=kv_format,
            version=deployment.engine_version,
        )  # fmt: skip


def kv_formats(deployment: Deployment, behind: Parents) -> tuple[str, ...]:
    """Cache types of Ollama that the heads of this model allow."""
    parent = behind.of(deployment)
    if parent is None:
        return ("auto",)
    return tuple(name for name in parent.kv_formats(deployment) if name == "auto" or name in feature("kv_types"))


def _file(deployment: Deployment) -> Iterator[Reason]:
    found = origin(deployment)
    if not can_name(found):
        yield not_supported("modelfile_cannot_name", source("modelfile_grammar"), path=found)
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", file_name(deployment)):
        yield warning("split_gguf_not_imported", source("split_gguf"), engine="ollama", merged=found)
    tag = library_tag(deployment)
    if found == tag:
        yield note("library_tag_unchecked", engine="ollama", tag=found, format=deployment.weight_format.name)
    elif deployment.repository is None:
        yield note("gguf_file_for_modelfile", engine="ollama", file=found, tag=tag)


def _options(deployment: Deployment) -> Iterator[Reason]:
    for option in deployment.options:
        if option.lower().replace("-", "_") not in known_names():
            yield not_supported("option_unknown", engine="ollama", option=option, version=deployment.engine_version)


def _defaults(deployment: Deployment) -> Iterator[Reason]:
    usual = default_context_tokens(deployment.machine)
    is_known = at_least(deployment.engine_version, feature("default_context_since"))
    if is_known and usual != deployment.context_tokens:
        yield note(
            "default_context_differs", source("default_context"), engine="ollama", default_tokens=usual,
            context_tokens=deployment.context_tokens,
        )  # fmt: skip
    yield note("server_already_runs", source("server_already_runs"), engine="ollama")
