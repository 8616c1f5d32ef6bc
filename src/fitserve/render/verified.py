"""The answer of `verify`: predicted beside the engine's own figures; as JSON (also a case file) and for a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.foundation.units import MIB
from fitserve.launch.oracle.types import Line, Verification
from fitserve.render.forms import reason_form
from fitserve.render.human import count_text, percent_text
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.texts import Texts, value_text

_HEADINGS = (
    "verify_item", ">verify_predicted", ">verify_engine", ">verify_difference", ">verify_allowed", "verify_verdict",
)  # fmt: skip


def verify_form(found: Verification, texts: Texts) -> dict[str, Any]:
    """JSON; with `schema` and `cases` it is a case file that `validate` reads."""
    deployment = found.deployment
    return {
        "schema_version": 1,
        "schema": "fitserve-evidence/1",
        "agrees": found.agrees,
        "engine": deployment.engine,
        "engine_version": deployment.engine_version,
        "model": deployment.model.id,
        "format": deployment.weight_format.name,
        "context_tokens": deployment.context_tokens,
        "seconds": round(found.seconds, 2),
        "asked": dict(found.asked),
        "lines": [_line_form(line) for line in found.lines],
        "blocked": [reason_form(reason, texts) for reason in found.blocked],
        "notes": [reason_form(reason, texts) for reason in found.notes],
        "cases": [] if found.case is None else [dict(found.case)],
    }


def _line_form(line: Line) -> dict[str, Any]:
    return {
        "item": line.code,
        "unit": line.unit,
        "predicted": {"low": line.predicted.low, "likely": line.predicted.likely, "high": line.predicted.high},
        "engine": line.engine,
        "plus_minus": line.plus_minus,
        "error_pct": line.error_pct,
        "allowed_pct": 100 * line.share,
        "agrees": line.agrees,
    }


def verify_view(found: Verification, texts: Texts) -> RenderableType:
    """The verdict, what was asked, the table, notes."""
    deployment = found.deployment
    named = {"engine": value_text("engine", deployment.engine), "version": deployment.engine_version}
    code, style = ("agrees", "bold green") if found.agrees else ("differs", "bold red")
    if found.blocked:
        code, style = "blocked", "yellow"
    of = texts.label(
        "verify_of", model=deployment.model.id, format=deployment.weight_format.name,
        context_tokens=deployment.context_tokens,
        slots=found.asked.get("slots") or deployment.concurrent_requests,
    )  # fmt: skip
    parts: list[RenderableType] = [Text(texts.label(f"verify_{code}", **named), style=style), indented(of)]
    if found.lines:
        parts.append(Rows(headings_of(_HEADINGS, texts), tuple(_cells(line, texts) for line in found.lines)))
        parts.append(indented(_how(found, texts), style="dim"))
    if "kept" in found.asked:
        parts.append(indented(texts.label("verify_kept", path=found.asked["kept"])))
    parts += [indented(f"✗ {texts.reason(reason)}", style="bold red") for reason in found.blocked]
    parts += [indented(f"· {texts.reason(reason)}") for reason in found.notes]
    return Group(*parts)


def _how(found: Verification, texts: Texts) -> str:
    asked, seconds = found.asked, f"{found.seconds:.1f}"
    if "kv_pool_bytes" in asked:
        return texts.label("verify_pool", pool_bytes=asked["kv_pool_bytes"], seconds=seconds)
    return texts.label(
        "verify_header", header_bytes=asked["header_bytes"], whole_bytes=asked["apparent_bytes"], seconds=seconds
    )


def _mib_text(value: float) -> str:
    """All sizes in one unit, as the engine prints them, so that they can be compared."""
    return f"{value / MIB:,.2f} MiB"


def _whole_text(value: float) -> str:
    return count_text(round(value))


def _cells(line: Line, texts: Texts) -> tuple[str, ...]:
    text = _mib_text if line.unit == "bytes" else _whole_text
    error = line.error_pct
    return (
        texts.label(f"verify_line_{line.code}"),
        text(line.predicted.likely),
        text(line.engine),
        percent_text(error) if error is not None else text(line.predicted.likely - line.engine),
        percent_text(100 * line.share),
        texts.label("agrees" if line.agrees else "differs"),
    )
