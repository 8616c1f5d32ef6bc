"""The answer of `finetune` as JSON and for a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.emit.shells import bash_line
from fitserve.emit.trainers.types import TrainerFiles
from fitserve.foundation.intervals import Interval
from fitserve.plan.finetune import FinetuneAnswer, disk_bytes
from fitserve.plan.finetune_serving import Served
from fitserve.predict.prices import DOLLAR
from fitserve.render.forms import SCHEMA_VERSION, interval_form, reason_form
from fitserve.render.human import bytes_text, count_text
from fitserve.render.json_form import command_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.money import money_text, price_text
from fitserve.render.plan_cost import rate_form
from fitserve.render.texts import Texts
from fitserve.training.fits import TrainingFix
from fitserve.training.types import FinetuneJob, TrainingMemory

_DIGITS = 4


def finetune_form(answer: FinetuneAnswer, files: TrainerFiles, served: Served | None, texts: Texts) -> dict[str, Any]:
    """JSON of the contract."""
    return {
        "schema_version": SCHEMA_VERSION,
        "request": answer.request.model_dump(mode="json"),
        "plan": {
            "model": answer.model.id,
            "gpus": [{"gpu": gpu, "count": count} for gpu, count in answer.machine.counts],
            "job": job_form(answer.job, answer.request.trainer),
            "verdict": str(answer.verdict),
            "reasons": [reason_form(reason, texts) for reason in answer.reasons],
            "notes": [reason_form(reason, texts) for reason in answer.notes],
            "fixes": [_fix_form(fix, texts) for fix in answer.fixes],
            "memory": _memory_form(answer),
            "time": _time_form(answer),
            "cost": _cost_form(answer, texts),
            "serving": _serving_form(answer, served, texts),
            "config": {
                "files": [{"path": file.path, "text": file.text} for file in files.files],
                "command": list(files.argv), "install": list(files.install),
            },
            "disk_bytes": disk_bytes(answer.job),
            "basis": [{"kind": item.kind, "ref": item.ref} for item in answer.memory.basis],
        },
    }  # fmt: skip


def job_form(job: FinetuneJob, trainer: str) -> dict[str, Any]:
    """The run as it was judged, with what was chosen for it."""
    return {
        "method": job.method, "trainer": trainer, "weight_format": job.weight_format.name, "rank": job.rank,
        "targets": list(job.targets), "sequence_tokens": job.sequence_tokens, "micro_batch": job.micro_batch,
        "accumulation": job.accumulation, "optimizer": job.optimizer, "precision": job.precision, "loss": job.loss,
        "checkpointing": job.checkpointing, "attention": job.attention, "sharding": job.sharding, "offload": job.offload,
        "gpu_count": job.gpu_count, "step_tokens": job.step_tokens,
    }  # fmt: skip


def _memory_form(answer: FinetuneAnswer) -> dict[str, Any]:
    memory, device = answer.memory, answer.machine.devices[0]
    return {
        "devices": [
            {
                "device": index, "gpu": item.id, "capacity_bytes": item.memory_bytes,
                "usable_bytes": item.engine_visible_bytes, "used_bytes": round(memory.total_bytes.likely),
                "items": [{"code": part.code, "bytes": part.bytes} for part in memory.items],
            }
            for index, item in enumerate(answer.machine.devices[: answer.job.gpu_count])
        ],
        "host_bytes": memory.host_bytes, "peak": memory.peak, "trained_params": memory.trained_params,
        "weights_bytes": sum(item.bytes for item in memory.items if item.code == "weights"),
        "allocated_bytes": interval_form(memory.allocated_bytes, whole=True),
        "total_bytes": interval_form(memory.total_bytes, whole=True),
        "longest_sequence_tokens": answer.longest_sequence, "largest_micro_batch": answer.largest_batch,
        "gpus_needed": None if answer.enough is None else {"gpu": device.id, "count": answer.enough.gpu_count},
    }  # fmt: skip


def _fix_form(fix: TrainingFix, texts: Texts) -> dict[str, Any]:
    summary = {"verdict": "fits", "total_bytes": interval_form(fix.memory.total_bytes, whole=True),
               "sharding": fix.job.sharding, "host_bytes": fix.memory.host_bytes}  # fmt: skip
    return {"change": dict(fix.change), "text": fix_text(fix, texts), "plan": summary}


def fix_text(fix: TrainingFix, texts: Texts) -> str:
    """`--method qlora --trainer axolotl: 120.8 GiB`."""
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in fix.change)
    shared = texts.text("training", "fix_shared", {"sharding": fix.job.sharding}) if fix.job.sharding != "none" else ""
    host = texts.text("training", "fix_host", {"bytes": fix.memory.host_bytes}) if fix.memory.host_bytes else ""
    return f"{flags}: {bytes_text(fix.memory.total_bytes.likely)}{shared}{host}"


def _time_form(answer: FinetuneAnswer) -> dict[str, Any] | None:
    time = answer.time
    if time is None:
        return None
    return {
        "step_s": interval_form(time.step_s, digits=_DIGITS), "tok_per_s": interval_form(time.tok_per_s, digits=_DIGITS),
        "steps": answer.steps, "hours": None if answer.hours is None else interval_form(answer.hours, digits=_DIGITS),
        "basis": [{"kind": item.kind, "ref": item.ref} for item in time.basis],
    }  # fmt: skip


def _cost_form(answer: FinetuneAnswer, texts: Texts) -> dict[str, Any] | None:
    if answer.usd_per_hour is None:
        return None
    rate = answer.rate
    total = answer.total_usd
    return {
        "usd_per_hour": float(answer.usd_per_hour), "price_kind": answer.price_kind, "currency": rate.currency,
        "per_hour": float(rate.of(answer.usd_per_hour)), "exchange_rate": rate_form(rate),
        "rows": [
            {"hours": float(row.hours), "usd": float(row.usd), "currency": rate.currency, "amount": float(row.amount),
             "text": money_text(row.amount, rate.currency, texts.language)}
            for row in answer.rows
        ],
        "usd": None if total is None else interval_form(total, digits=_DIGITS),
    }  # fmt: skip


def _serving_form(answer: FinetuneAnswer, served: Served | None, texts: Texts) -> dict[str, Any]:
    serving = answer.serving
    found: dict[str, Any] = {
        "adapter_bytes": serving.adapter_bytes, "options": list(serving.options), "merged_bytes": serving.merged_bytes,
        "reasons": [reason_form(reason, texts) for reason in serving.reasons],
    }  # fmt: skip
    if served is not None and served.plan is not None and served.command is not None:
        found["weight_format"] = served.plan.deployment.weight_format.name
        found["command"] = command_form(served.command, True)
    return found


def finetune_view(answer: FinetuneAnswer, files: TrainerFiles, served: Served | None, texts: Texts) -> RenderableType:
    """Verdict, memory, reasons and fixes, time, cost, serving, files."""
    parts: list[RenderableType] = [_title(answer, texts), _memory(answer, texts)]
    marks = {"blocker": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "")}
    for reason in answer.reasons:
        mark, style = marks[str(reason.severity)]
        parts.append(indented(f"{mark} {texts.reason(reason)}", style=style))
    if answer.fixes:
        parts.append(Text(texts.text("training", "fixes"), style="bold"))
        parts += [indented(f"→ {fix_text(fix, texts)}") for fix in answer.fixes]
    parts += [indented(line) for line in _limits(answer, texts)]
    parts += _time_lines(answer, texts) + _cost_lines(answer, texts) + _serving_lines(answer, served, texts)
    parts.append(Text(texts.text("training", "files", {"trainer": answer.request.trainer}), style="bold"))
    parts += [indented(f"pip install {bash_line(files.install)}"), indented(bash_line(files.argv))]
    parts.append(
        indented(texts.text("training", "files_hint", {"names": ", ".join(f.path for f in files.files)}), style="dim")
    )
    parts += [indented(f"· {texts.reason(reason)}", style="dim") for reason in answer.notes]
    return Group(*parts)


def _title(answer: FinetuneAnswer, texts: Texts) -> Text:
    job = answer.job
    gpus = ", ".join(f"{count} x {gpu}" for gpu, count in answer.machine.counts)
    line = texts.text(
        "training", f"title_{answer.verdict}",
        {"model": answer.model.id, "method": texts.text("training", f"method_{job.method}"), "gpus": gpus,
         "total": bytes_text(answer.memory.total_bytes.likely), "usable": bytes_text(answer.usable_bytes)},
    )  # fmt: skip
    return Text(line, style="bold green" if str(answer.verdict) == "fits" else "bold red")


def _memory(answer: FinetuneAnswer, texts: Texts) -> Rows:
    memory = answer.memory
    heading = headings_of(("part",), texts)[0] if "part" in texts.codes("label") else texts.text("training", "part")
    rows = [(texts.text("training", f"item_{item.code}"), bytes_text(item.bytes)) for item in memory.items]
    rows.append((texts.text("training", "total"), bytes_text(memory.total_bytes.likely)))
    spread = f"{bytes_text(memory.total_bytes.low)} – {bytes_text(memory.total_bytes.high)}"
    rows.append((texts.text("training", "interval"), spread))
    rows.append((texts.text("training", "usable"), bytes_text(answer.usable_bytes)))
    return Rows((heading, ">" + texts.text("training", "per_gpu")), tuple(rows))


def _limits(answer: FinetuneAnswer, texts: Texts) -> list[str]:
    job, device = answer.job, answer.machine.devices[0]
    settings = {"sequence": job.sequence_tokens, "batch": job.micro_batch, "params": answer.memory.trained_params,
                "sharding": job.sharding, "count": job.gpu_count}  # fmt: skip
    lines = [texts.text("training", "run", settings)]
    if answer.longest_sequence:
        lines.append(
            texts.text("training", "largest", {"sequence": answer.longest_sequence, "batch": answer.largest_batch})
        )
    if answer.enough is not None:
        lines.append(texts.text("training", "needed", {"count": answer.enough.gpu_count, "gpu": device.id}))
    if answer.memory.host_bytes:
        lines.append(texts.text("training", "host", {"bytes": answer.memory.host_bytes}))
    lines.append(texts.text("training", "disk", {"bytes": disk_bytes(job)}))
    return lines


def _between(value: Interval, digits: int = 2) -> str:
    def number(x: float) -> str:
        return count_text(round(x)) if x >= 100 else f"{x:.{digits + 1}g}"

    return f"{number(value.likely)} ({number(value.low)} – {number(value.high)})"


def _time_lines(answer: FinetuneAnswer, texts: Texts) -> list[RenderableType]:
    time = answer.time
    if time is None:
        return []
    lines = [
        texts.text(
            "training", "step",
            {"seconds": _between(time.step_s), "tokens": answer.job.step_tokens, "rate": _between(time.tok_per_s)},
        )
    ]  # fmt: skip
    if answer.hours is not None and answer.steps is not None:
        lines.append(texts.text("training", "hours", {"steps": answer.steps, "hours": _between(answer.hours)}))
    else:
        lines.append(texts.text("training", "hours_unknown"))
    return [Text(texts.text("training", "time"), style="bold"), *(indented(line) for line in lines)]


def _cost_lines(answer: FinetuneAnswer, texts: Texts) -> list[RenderableType]:
    if answer.usd_per_hour is None:
        return [indented(texts.text("training", "price_unknown"))]
    rate, language = answer.rate, texts.language
    headings = (*headings_of((">cost_hours",), texts), ">USD", *((f">{rate.currency}",) if rate != DOLLAR else ()))
    rows = []
    for row in answer.rows:
        amount = (money_text(row.amount, rate.currency, language),) if rate != DOLLAR else ()
        rows.append((f"{row.hours.normalize():,f}", money_text(row.usd, "USD"), *amount))
    parts: list[RenderableType] = [
        Text(texts.text("training", "cost", {"price": price_text(answer.usd_per_hour, "USD")}), style="bold"),
        Rows(headings, tuple(rows)),
    ]
    if answer.total_usd is not None:
        total = " – ".join(money_text(v, "USD") for v in (answer.total_usd.low, answer.total_usd.high))
        parts.append(
            indented(
                texts.text(
                    "training", "cost_run", {"likely": money_text(answer.total_usd.likely, "USD"), "spread": total}
                )
            )
        )
    return parts


def _serving_lines(answer: FinetuneAnswer, served: Served | None, texts: Texts) -> list[RenderableType]:
    serving = answer.serving
    parts: list[RenderableType] = [Text(texts.text("training", "serving"), style="bold")]
    if serving.adapter_bytes:
        sizes = {"adapter_bytes": serving.adapter_bytes, "merged_bytes": serving.merged_bytes}
        parts.append(indented(texts.text("training", "adapter", sizes)))
    parts += [indented(f"· {texts.reason(reason)}") for reason in serving.reasons]
    if served is not None and served.command is not None and served.plan is not None:
        parts.append(indented(bash_line(served.command.argv)))
        cost = served.cost
        if cost is not None and cost.usd_per_million_output_tokens is not None:
            price = money_text(cost.usd_per_million_output_tokens.likely, "USD")
            parts.append(indented(texts.text("training", "serving_cost", {"price": price})))
    elif served is not None:
        parts.append(indented(texts.text("training", "serving_no_plan")))
    return parts


def memory_lines(memory: TrainingMemory, texts: Texts) -> list[str]:
    """Items in words, for Markdown."""
    return [f"- {texts.text('training', f'item_{item.code}')}: {bytes_text(item.bytes)}" for item in memory.items]
