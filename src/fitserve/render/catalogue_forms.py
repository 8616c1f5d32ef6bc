"""The catalogues as JSON: rows that hold every word that was asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fitserve.engines.contract import Engine
from fitserve.engines.registry import engines
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.models.catalog.lookup import rows
from fitserve.models.names import resolve_name
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.texts import Texts

Row = Mapping[str, Any]
_MODEL_KEYS = (
    "id", "family", "licence", "gated", "release_date", "total_params", "active_params", "quantized_from", "tags", "doubt",
)  # fmt: skip
_GPU_KEYS = (
    "id", "vendor", "names", "memory_bytes", "memory_kind", "compute_capability", "gfx", "bandwidth_bytes_per_s",
    "unified_memory",
)  # fmt: skip


def models_found(words: Sequence[str]) -> list[Row]:
    """Models whose id, family or tags hold every word; else the one that the words name. Raises InputError for none."""
    return _found(
        words,
        rows(),
        lambda row: f"{row['id']} {row['family']} {' '.join(row['tags'] or ())}",
        lambda name: resolve_name(name).id,
    )


def gpus_found(words: Sequence[str]) -> list[Row]:
    """GPUs whose id, vendor or names hold every word; else the one that the words name. Raises InputError for none."""
    return _found(
        words,
        gpu_rows(),
        lambda row: f"{row['id']} {row['vendor']} {' '.join(row['names'])}",
        lambda name: identify(name).device.id,
    )


def _found(
    words: Sequence[str], table: Mapping[str, Row], text_of: Callable[[Row], str], meant: Callable[[str], str]
) -> list[Row]:
    lowered = [word.lower() for word in words]
    found = [row for row in table.values() if all(word in text_of(row).lower() for word in lowered)]
    return found or [table[meant(" ".join(lowered))]]


def models_form(found: Sequence[Row]) -> dict[str, Any]:
    """JSON of models."""
    return {"schema_version": SCHEMA_VERSION, "models": [_model_form(row) for row in found]}


def _model_form(row: Row) -> dict[str, Any]:
    known = {key: row[key] for key in _MODEL_KEYS}
    return known | {"architecture": row["config"]["architectures"][0], "sources": row["sources"]}


def gpus_form(found: Sequence[Row]) -> dict[str, Any]:
    """JSON of GPUs."""
    return {"schema_version": SCHEMA_VERSION, "gpus": [{key: row[key] for key in _GPU_KEYS} for row in found]}


def engines_form(texts: Texts) -> dict[str, Any]:
    """JSON of all engines, with what is calibrated of each."""
    return {"schema_version": SCHEMA_VERSION, "engines": [_engine_form(engine, texts) for engine in engines()]}


def _engine_form(engine: Engine, texts: Texts) -> dict[str, Any]:
    return {
        "id": engine.id,
        "title": engine.facts["identity"]["title"],
        "versions": list(engine.versions),
        "native_os": list(engine.native_os),
        "licence": engine.facts["identity"]["licence"],
        "status": {
            name: {"state": part["state"], "text": part[texts.language]} for name, part in engine.status.items()
        },
    }
