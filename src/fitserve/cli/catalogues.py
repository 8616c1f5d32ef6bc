"""`fitserve models`, `gpus`, `engines`: what is known."""

from collections.abc import Callable, Mapping
from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.engines.registry import engines
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.models.catalog.lookup import rows
from fitserve.models.names import resolve_name
from fitserve.render.catalogues import engines_view, gpus_view, models_view
from fitserve.render.texts import Texts

_MODEL_KEYS = (
    "id",
    "family",
    "licence",
    "gated",
    "release_date",
    "total_params",
    "active_params",
    "quantized_from",
    "tags",
    "doubt",
)
_GPU_KEYS = (
    "id",
    "vendor",
    "names",
    "memory_bytes",
    "memory_kind",
    "compute_capability",
    "gfx",
    "bandwidth_bytes_per_s",
    "unified_memory",
)


def _found(
    values: dict[str, Any],
    table: Mapping[str, Mapping[str, Any]],
    text_of: Callable[[Mapping[str, Any]], str],
    meant: Callable[[str], str],
) -> list[Mapping[str, Any]]:
    """Rows that hold every word; else the one that the words name. Raises InputError, with near misses, for no row."""
    words = [word.lower() for word in values.get("search") or ()]
    found = [row for row in table.values() if all(word in text_of(row).lower() for word in words)]
    return found or [table[meant(" ".join(words))]]


def run_models(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve models [WORD…]`."""
    check_out(values.get("out"))
    found = _found(
        values,
        rows(),
        lambda row: f"{row['id']} {row['family']} {' '.join(row['tags'] or ())}",
        lambda name: resolve_name(name).id,
    )
    form = {
        "schema_version": 1,
        "models": [
            {
                **{key: row[key] for key in _MODEL_KEYS},
                "architecture": row["config"]["architectures"][0],
                "sources": row["sources"],
            }
            for row in found
        ],
    }
    write(lambda: form, models_view(found, texts), bool(values.get("json")), values.get("out"))
    return 0


def run_gpus(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve gpus [WORD…]`."""
    check_out(values.get("out"))
    found = _found(
        values,
        gpu_rows(),
        lambda row: f"{row['id']} {row['vendor']} {' '.join(row['names'])}",
        lambda name: identify(name).device.id,
    )
    form = {"schema_version": 1, "gpus": [{key: row[key] for key in _GPU_KEYS} for row in found]}
    write(lambda: form, gpus_view(found, texts), bool(values.get("json")), values.get("out"))
    return 0


def run_engines(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve engines`."""
    check_out(values.get("out"))
    listed = [
        {
            "id": engine.id,
            "title": engine.facts["identity"]["title"],
            "versions": list(engine.versions),
            "native_os": list(engine.native_os),
            "licence": engine.facts["identity"]["licence"],
            "status": {
                name: {"state": part["state"], "text": part[texts.language]} for name, part in engine.status.items()
            },
        }
        for engine in engines()
    ]
    write(
        lambda: {"schema_version": 1, "engines": listed},
        engines_view(listed, texts),
        bool(values.get("json")),
        values.get("out"),
    )
    return 0
