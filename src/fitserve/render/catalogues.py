"""The catalogues as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.models.catalog.lookup import catalog_model
from fitserve.render.human import bytes_text, count_text, params_text
from fitserve.render.layout import Rows, headings_of
from fitserve.render.texts import Texts


def models_view(rows: Sequence[Mapping[str, Any]], texts: Texts) -> RenderableType:
    """One row a model."""
    names = ("model", "family", ">params", ">active", ">context", "format", "released")
    return Rows(headings_of(names, texts), tuple(map(_model_cells, rows)))


def _model_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    model = catalog_model(row["id"])
    total, active = row["total_params"], row["active_params"]
    return (
        row["id"], row["family"], params_text(total) if total else "?", params_text(active) if active else "?",
        count_text(model.max_context_tokens), model.checkpoint.weight_format if model.checkpoint else model.dtype,
        (row["release_date"] or "?")[:7],
    )  # fmt: skip


def gpus_view(rows: Sequence[Mapping[str, Any]], texts: Texts) -> RenderableType:
    """One row a device."""
    names = ("gpu", "vendor", ">device_memory", "capability", ">bandwidth")
    return Rows(headings_of(names, texts), tuple(map(_gpu_cells, rows)))


def _gpu_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    bandwidth = row["bandwidth_bytes_per_s"]
    capability = row["compute_capability"] or row["gfx"] or row["metal_family"] or "?"
    rate = "?" if bandwidth is None else f"{bandwidth / 1e9:,.0f} GB/s"
    return row["id"], row["vendor"], bytes_text(row["memory_bytes"]), str(capability), rate


def engines_view(engines: Sequence[Mapping[str, Any]], texts: Texts) -> RenderableType:
    """One block an engine."""
    parts: list[RenderableType] = []
    for engine in engines:
        versions = engine["versions"]
        parts.append(Text(engine["title"], style="bold"))
        parts.append(Text(f"  {texts.label('version')}: {versions[0]} … {versions[-1]} ({len(versions)})"))
        parts.append(Text(f"  {texts.label('platforms')}: {', '.join(engine['native_os'])}"))
        parts += [Text(f"  {name} [{status['state']}]: {status['text']}") for name, status in engine["status"].items()]
    return Group(*parts)
