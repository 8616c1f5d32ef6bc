"""The answer of `compare`: one row a variant, and the same as JSON."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.foundation.reasons import Severity
from fitserve.plan.compare import Comparison, Variant
from fitserve.render.forms import reason_form
from fitserve.render.human import bytes_text, count_text
from fitserve.render.json_form import plan_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.speed_text import cost_cell, rate_text, speed_cells
from fitserve.render.tables import quality_text
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated

_NAMES = (
    "variant",
    "verdict",
    "engine",
    "format",
    "quality",
    ">memory_used",
    ">longest",
    ">at_once",
    ">per_user",
    ">all_users",
    ">first_token",
    ">per_million",
)
_NONE = "–"


def comparison_form(comparison: Comparison, texts: Texts) -> dict[str, Any]:
    """JSON: the variants in their order, each with its plan."""
    return {
        "schema_version": 1,
        "request": comparison.request.model_dump(mode="json"),
        "variants": [
            {
                "variant": variant.written,
                "plan": None if variant.item is None else plan_form(variant.item, texts, variant.rate, variant.use),
                "reasons": [] if variant.unreadable is None else [reason_form(variant.unreadable, texts)],
                "notes": [reason_form(note, texts) for note in variant.notes],
            }
            for variant in comparison.variants
        ],
    }


def comparison_view(comparison: Comparison, texts: Texts) -> RenderableType:
    """A table of the variants, and why one of them does not run."""
    parts: list[RenderableType] = [
        Rows(headings_of(_NAMES, texts), tuple(_cells(variant, texts) for variant in comparison.variants))
    ]
    for variant in comparison.variants:
        against = _against(variant, texts)
        if against:
            parts += [Text(variant.written, style="bold"), *(indented(f"✗ {text}") for text in against)]
    return Group(*parts)


def _cells(variant: Variant, texts: Texts) -> tuple[str, ...]:
    item = variant.item
    if item is None:
        return (variant.written, texts.text("verdict", "unknown"), *[_NONE] * (len(_NAMES) - 2))
    deployment = item.deployment
    engine = f"{value_text('engine', deployment.engine)} {deployment.engine_version}"
    return (
        variant.written,
        texts.text("verdict", str(item.verdict)),
        engine,
        deployment.weight_format.name,
        quality_text(item, texts),
        *_memory(item),
        *_speed(item),
        cost_cell(item, variant.rate, texts),
    )


def _memory(item: Evaluated) -> tuple[str, str, str]:
    """Memory of all devices, longest context, requests at once; nothing where there is no budget."""
    budget = item.budget
    if budget is None:
        return _NONE, _NONE, _NONE
    used = sum(device.used_bytes for device in budget.devices) or budget.host_bytes
    return bytes_text(used), count_text(budget.kv.max_context_tokens), count_text(budget.kv.max_concurrency)


def _speed(item: Evaluated) -> tuple[str, str, str]:
    """Tokens a second of one user and of all, and the time to the first token."""
    per_user, first = speed_cells(item)
    return per_user, _NONE if item.speed is None else rate_text(item.speed.output_tok_per_s.likely), first


def _against(variant: Variant, texts: Texts) -> list[str]:
    if variant.unreadable is not None:
        return [texts.reason(variant.unreadable)]
    reasons = variant.item.reasons if variant.item is not None else ()
    return [texts.reason(reason) for reason in reasons if reason.severity is Severity.BLOCKER]
