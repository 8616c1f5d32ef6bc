"""The answer of `quantize` as JSON and for a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.emit.quantizers import QuantizerFiles
from fitserve.emit.shells import bash_line
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Verdict
from fitserve.launch.quantize_run import Done
from fitserve.plan.answer import launch_command
from fitserve.plan.quantize import QuantizeAnswer
from fitserve.render.forms import SCHEMA_VERSION, interval_form, reason_form
from fitserve.render.human import bytes_text
from fitserve.render.json_form import plan_form
from fitserve.render.layout import Rows, indented
from fitserve.render.texts import Texts

_DIGITS = 3


def quantize_form(
    answer: QuantizeAnswer, files: QuantizerFiles | None, texts: Texts, done: Done | None = None
) -> dict[str, Any]:
    """JSON of the contract."""
    tool, needs = answer.tool, answer.needs
    return {
        "schema_version": SCHEMA_VERSION,
        "request": answer.request.model_dump(mode="json"),
        "plan": {
            "model": answer.model.id, "weight_format": answer.weight_format.name, "verdict": str(answer.verdict),
            "reasons": [reason_form(reason, texts) for reason in answer.reasons],
            "notes": [reason_form(reason, texts) for reason in answer.notes],
            "published": list(answer.published),
            "tool": None if tool is None else {
                "name": tool.name, "version": tool.version, "algorithm": tool.algorithm, "engines": list(tool.engines),
                "source": tool.source, "others": [item.name for item in answer.others],
            },
            "needs": None if needs is None else {
                "ram_bytes": needs.ram_bytes, "gpu_bytes": needs.gpu_bytes, "disk_bytes": needs.disk_bytes,
                "input_bytes": needs.input_bytes, "intermediate_bytes": needs.intermediate_bytes,
                "output_bytes": interval_form(needs.output_bytes, whole=True),
                "hours": interval_form(needs.hours, digits=_DIGITS),
                "calibration": {"samples": needs.samples, "tokens": needs.sample_tokens,
                                "dataset": answer.dataset if needs.samples else None},
            },
            "kept": [{"part": part, "bytes": size} for part, size in answer.kept],
            "quality": _quality_form(answer),
            "config": None if files is None else {
                "files": [{"path": file.path, "text": file.text} for file in files.files],
                "steps": [{"command": list(step.argv), "makes": step.makes} for step in files.steps],
                "install": list(files.install),
            },
            "then": None if answer.then is None else plan_form(answer.then, texts),
            "result": None if done is None else {"path": str(done.path), "bytes": done.bytes, "seconds": done.seconds,
                                                 "skipped": [str(path) for path in done.skipped]},
        },
    }  # fmt: skip


def _quality_form(answer: QuantizeAnswer) -> dict[str, Any] | None:
    found = answer.quality
    if found is None:
        return None
    return {
        "loss_class": found.loss_class, "score_kept_pct": interval_form(found.score_kept_pct, digits=4),
        "kl_divergence": interval_form(found.kl_divergence, digits=_DIGITS), "way": found.way,
        "basis": [{"kind": item.kind, "ref": item.ref} for item in found.basis],
    }  # fmt: skip


def quantize_view(
    answer: QuantizeAnswer, files: QuantizerFiles | None, texts: Texts, done: Done | None = None
) -> RenderableType:
    """What is published, tool and needs, reasons, what stays, how to run it, the plan with the result."""
    parts: list[RenderableType] = [_title(answer, texts)]
    if answer.published:
        parts.append(indented(texts.text("quantize", "published", {"names": answer.published}), style="bold"))
    if answer.tool is not None:
        named = {"tool": answer.tool.name, "version": answer.tool.version, "algorithm": answer.tool.algorithm,
                 "engines": answer.tool.engines}  # fmt: skip
        parts.append(indented(texts.text("quantize", "tool", named)))
    if answer.needs is not None:
        parts.append(_needs(answer, texts))
    marks = {"blocker": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "")}
    for reason in answer.reasons:
        mark, style = marks[str(reason.severity)]
        parts.append(indented(f"{mark} {texts.reason(reason)}", style=style))
    if answer.kept:
        listed = ", ".join(f"{texts.text('quantize', f'kept_{part}')} {bytes_text(size)}" for part, size in answer.kept)
        parts.append(indented(texts.text("quantize", "kept", {"parts": listed})))
    if answer.quality is not None:
        kept = answer.quality.score_kept_pct
        spread = {"likely": f"{kept.likely:.1f}", "low": f"{kept.low:.1f}", "high": f"{kept.high:.1f}"}
        parts.append(indented(texts.text("quantize", "quality", spread)))
    parts += _commands(files, texts) + _result(answer, done, texts) + _then(answer, texts)
    parts += [indented(f"· {texts.reason(reason)}", style="dim") for reason in answer.notes]
    return Group(*parts)


def _title(answer: QuantizeAnswer, texts: Texts) -> Text:
    gpus = ", ".join(f"{count} x {gpu}" for gpu, count in answer.machine.counts) or "CPU"
    named = {"model": answer.model.id, "format": answer.weight_format.name, "gpus": gpus}
    style = "bold green" if answer.verdict is Verdict.FITS else "bold red"
    return Text(texts.text("quantize", f"title_{answer.verdict}", named), style=style)


def _hours(value: Interval) -> str:
    if value.high < 0.1:
        return f"{value.likely * 60:.2g} min ({value.low * 60:.2g} – {value.high * 60:.2g})"
    return f"{value.likely:.2g} h ({value.low:.2g} – {value.high:.2g})"


def _needs(answer: QuantizeAnswer, texts: Texts) -> Rows:
    needs = answer.needs
    assert needs is not None

    def word(code: str) -> str:
        return texts.text("quantize", code)

    rows = [
        (word("ram"), bytes_text(needs.ram_bytes)),
        (word("gpu"), bytes_text(needs.gpu_bytes) if needs.gpu_bytes else word("none")),
        (word("input"), bytes_text(needs.input_bytes)),
        *([(word("intermediate"), bytes_text(needs.intermediate_bytes))] if needs.intermediate_bytes else []),
        (word("output"), f"{bytes_text(needs.output_bytes.likely)} ({needs.output_bytes.likely / 1e9:,.2f} GB)"),
        (word("disk"), bytes_text(needs.disk_bytes)),
        (word("time"), _hours(needs.hours)),
    ]
    return Rows((word("need"), ">" + word("amount")), tuple(rows))


def _commands(files: QuantizerFiles | None, texts: Texts) -> list[RenderableType]:
    if files is None:
        return []
    parts: list[RenderableType] = [Text(texts.text("quantize", "commands"), style="bold")]
    if files.install:
        parts.append(indented(f"pip install {bash_line(files.install)}"))
    parts += [indented(bash_line(step.argv)) for step in files.steps]
    for file in files.files:
        parts.append(Text(f"   {file.path}", style="bold"))
        parts += [Text("   " + line, overflow="fold") for line in file.text.splitlines()]
    return parts


def _result(answer: QuantizeAnswer, done: Done | None, texts: Texts) -> list[RenderableType]:
    if done is None:
        return []
    likely = answer.needs.output_bytes.likely if answer.needs is not None else done.bytes
    named = {"path": str(done.path), "size": f"{done.bytes:,}", "seconds": f"{done.seconds:.1f}",
             "off": f"{100 * (likely / done.bytes - 1):+.2f}"}  # fmt: skip
    return [Text(texts.text("quantize", "done", named), style="bold green")]


def _then(answer: QuantizeAnswer, texts: Texts) -> list[RenderableType]:
    if answer.then is None or answer.then.budget is None:
        return []
    deployment, budget = answer.then.deployment, answer.then.budget
    named = {"engine": deployment.engine, "version": deployment.engine_version,
             "total": bytes_text(max(device.used_bytes for device in budget.devices) if budget.devices else budget.host_bytes),
             "tokens": budget.kv.capacity_tokens or 0}  # fmt: skip
    parts: list[RenderableType] = [Text(texts.text("quantize", "then", named), style="bold")]
    command = launch_command(answer.then)
    if command is not None:
        parts.append(indented(bash_line(command.argv)))
    return parts
