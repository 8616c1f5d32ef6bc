"""`fitserve models`, `gpus`, `engines`: what is known."""

from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.engines.registry import ENGINES
from fitserve.hardware.identify import gpu_rows
from fitserve.models.catalog.lookup import rows
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


def _wanted(values: dict[str, Any], text: str) -> bool:
    words = [word.lower() for word in values.get("search") or ()]
    return all(word in text.lower() for word in words)


def run_models(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve models [WORD…]`."""
    check_out(values.get("out"))
    found = [
        row for row in rows().values() if _wanted(values, f"{row['id']} {row['family']} {' '.join(row['tags'] or ())}")
    ]
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
    return 0 if found else 1


def run_gpus(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve gpus [WORD…]`."""
    check_out(values.get("out"))
    found = [
        row for row in gpu_rows().values() if _wanted(values, f"{row['id']} {row['vendor']} {' '.join(row['names'])}")
    ]
    form = {"schema_version": 1, "gpus": [{key: row[key] for key in _GPU_KEYS} for row in found]}
    write(lambda: form, gpus_view(found, texts), bool(values.get("json")), values.get("out"))
    return 0 if found else 1


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
        for engine in ENGINES
    ]
    write(
        lambda: {"schema_version": 1, "engines": listed},
        engines_view(listed, texts),
        bool(values.get("json")),
        values.get("out"),
    )
    return 0
