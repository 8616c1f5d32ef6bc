"""The answer of `diagnose`: causes with their lines and changed commands, figures compared; as JSON and for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.diagnose.types import Cause, Compared, Diagnosis, Evidence, Known, Remedy
from fitserve.emit.commands import shell_texts
from fitserve.render.forms import SCHEMA_VERSION, interval_form, reason_form
from fitserve.render.json_form import command_form, fix_form, fix_text, plan_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.texts import Texts, fill, value_text

_SHOWN_CAUSES = 3
_SHOWN_REMEDIES = 5
_SHOWN_COMMANDS = 2
_SHOWN_ROWS = 12


class _Blank(dict[str, Any]):
    """Parameters of a text; what is not known is left out of it."""

    def __missing__(self, key: str) -> None:
        return None


def diagnosis_form(answer: Diagnosis, texts: Texts) -> dict[str, Any]:
    """JSON of the contract."""
    judged = answer.budgeted
    return {
        "schema_version": SCHEMA_VERSION,
        "causes": [_cause_form(cause, texts) for cause in answer.causes],
        "predicted_against_allocated": [_compared_form(row) for row in answer.compared],
        "wrong_assumption": None if answer.wrong_assumption is None else reason_form(answer.wrong_assumption, texts),
        "known": _known_form(answer.known),
        "plan": None if judged is None else plan_form(judged.evaluated, texts),
        "telling": [_evidence_form(item) for item in answer.telling],
        "notes": [reason_form(reason, texts) for reason in answer.notes],
        "lines": answer.lines,
        "size_bytes": answer.size_bytes,
    }


def _cause_form(cause: Cause, texts: Texts) -> dict[str, Any]:
    return {
        "code": cause.code,
        "engine": cause.engine,
        "confidence": cause.confidence,
        "phase": cause.phase,
        "inferred": cause.is_inferred,
        "parameters": dict(cause.parameters),
        "evidence": [_evidence_form(item) for item in cause.evidence],
        "text": cause_text(cause, texts),
        "fixes": [_remedy_form(remedy, texts) for remedy in cause.remedies],
    }


def _remedy_form(remedy: Remedy, texts: Texts) -> dict[str, Any]:
    judged = {"change": dict(remedy.change), "text": remedy_text(remedy, texts), "plan": None}
    if remedy.fix is not None:
        judged = fix_form(remedy.fix, texts)
    return {
        **judged,
        "code": remedy.code,
        "environment": dict(remedy.environment),
        "container": list(remedy.container),
        "run": list(remedy.run),
        "command": None if remedy.command is None else command_form(remedy.command, remedy.is_native),
    }


def _compared_form(row: Compared) -> dict[str, Any]:
    return {
        "code": row.code,
        "unit": row.unit,
        "predicted": interval_form(row.predicted, digits=5),
        "allocated": row.allocated,
        "line": row.line,
        "ok": not row.is_off,
    }


def _known_form(known: Known) -> Mapping[str, Any]:
    return {
        "engine": known.engine,
        "engine_version": known.engine_version,
        "model": known.model,
        "gpus": list(known.gpus),
        "os": known.os,
        **known.fields,
        "options": dict(known.options),
        "origin": dict(known.origin),
    }


def _evidence_form(item: Evidence) -> dict[str, Any]:
    return {"line": item.line, "text": item.text}


def cause_text(cause: Cause, texts: Texts) -> str:
    """What happened and why, in words."""
    return fill(texts.raw("cause", cause.code), _Blank(cause.parameters))


def remedy_text(remedy: Remedy, texts: Texts) -> str:
    """What to do, in words."""
    if remedy.fix is not None:
        words = fix_text(remedy.fix, texts)
        return texts.label("diagnose_instead", what=words) if remedy.fix.knob == "engine" else words
    return fill(texts.raw("remedy", remedy.code), _Blank(remedy.parameters))


def diagnosis_view(answer: Diagnosis, texts: Texts) -> RenderableType:
    """The first cause with its lines and remedies, the figures, the other causes; or what the log says most."""
    if not answer.causes:
        return Group(*_unknown(answer, texts))
    first, *others = answer.causes
    parts = [*_first(first, texts), *_remedies(first, answer.known, texts), *_figures(answer, texts)]
    if others:
        parts.append(Text(texts.label("diagnose_others"), style="bold"))
        parts += [_other(cause, texts) for cause in others[: _SHOWN_CAUSES - 1]]
    parts += [indented(f"· {texts.reason(reason)}") for reason in answer.notes]
    return Group(*parts)


def _first(cause: Cause, texts: Texts) -> list[RenderableType]:
    head = texts.label("diagnose_found", cause=cause.code)
    sure = texts.label("diagnose_confidence", percent=round(100 * cause.confidence))
    parts: list[RenderableType] = [Text(f"{head} · {sure}", style="bold red"), indented(cause_text(cause, texts))]
    if cause.phase is not None:
        parts.append(indented(texts.label("diagnose_phase", phase=texts.text("phase", cause.phase))))
    return [*parts, *(_line(item, texts) for item in cause.evidence)]


def _line(item: Evidence, texts: Texts) -> RenderableType:
    return indented(f"{texts.label('diagnose_line', line=item.line)}: {item.text}", style="dim")


def _remedies(cause: Cause, known: Known, texts: Texts) -> list[RenderableType]:
    if not cause.remedies:
        return []
    parts: list[RenderableType] = [Text(texts.label("diagnose_fixes"), style="bold green")]
    shown = cause.remedies[:_SHOWN_REMEDIES]
    for remedy in shown:
        parts.append(indented(f"→ {remedy_text(remedy, texts)}"))
        if remedy.run:
            parts.append(indented(" ".join(remedy.run), style="dim", indent=5))
    for remedy in [remedy for remedy in shown if remedy.command is not None][:_SHOWN_COMMANDS]:
        parts += _command(remedy, known, texts)
    return parts


def _command(remedy: Remedy, known: Known, texts: Texts) -> list[RenderableType]:
    assert remedy.command is not None
    shells = shell_texts(remedy.command, remedy.is_native)
    shell = "powershell" if known.os == "windows" else "bash"
    text = shells.get(shell) or shells["bash"] or ""
    head = f"{texts.label('diagnose_changed', shell=shell)}: {remedy_text(remedy, texts)}"
    return [
        Text(head, style="bold"),
        *(Text("  " + line, overflow="ignore", no_wrap=True) for line in text.splitlines()),
    ]


def _figures(answer: Diagnosis, texts: Texts) -> list[RenderableType]:
    parts: list[RenderableType] = []
    judged = answer.budgeted
    if answer.compared:
        names = ("diagnose_figure", ">diagnose_predicted", ">diagnose_allocated")
        rows = tuple(_cells(row, texts) for row in answer.compared[:_SHOWN_ROWS])
        parts += [Text(texts.label("diagnose_compared"), style="bold"), Rows(headings_of(names, texts), rows)]
    if answer.wrong_assumption is not None:
        parts.append(Text(texts.label("diagnose_wrong"), style="bold"))
        parts.append(indented(texts.reason(answer.wrong_assumption)))
    if judged is not None:
        deployment = judged.deployment
        gpus = " + ".join(f"{count} x {gpu}" for gpu, count in deployment.machine.counts) or "CPU"
        named = f"{value_text('engine', deployment.engine)} {deployment.engine_version}"
        what = f"{deployment.model.id} · {deployment.weight_format.name} · {named} · {gpus}"
        parts.append(indented(f"· {texts.label('diagnose_known', what=what)}"))
    return parts


def _cells(row: Compared, texts: Texts) -> tuple[str, ...]:
    off = f"  ← {texts.label('diagnose_off')}" if row.is_off else ""
    predicted, allocated = (f"{value:,.4g} {row.unit}".strip() for value in (row.predicted.likely, row.allocated))
    return row.code, predicted, allocated + off


def _other(cause: Cause, texts: Texts) -> RenderableType:
    line = texts.label("diagnose_line", line=cause.evidence[0].line) if cause.evidence else ""
    return indented(f"· {cause.code} ({line}): {cause_text(cause, texts)}")


def _unknown(answer: Diagnosis, texts: Texts) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(texts.label("diagnose_unknown"), style="bold yellow")]
    if answer.telling:
        parts.append(Text(texts.label("diagnose_telling"), style="bold"))
        parts += [_line(item, texts) for item in answer.telling]
    if answer.notes:
        parts.append(Text(texts.label("diagnose_look"), style="bold"))
        parts += [indented(f"· {texts.reason(reason)}") for reason in answer.notes]
    return parts
