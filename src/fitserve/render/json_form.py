"""Answers as the JSON of CONTRACT: bytes are integers, texts are in the language asked for."""

from collections.abc import Iterable
from typing import Any

from fitserve.emit.commands import shell_texts
from fitserve.emit.of_plan import served_of
from fitserve.emit.steps import Served, steps
from fitserve.engines.contract import LaunchCommand, MemoryBudget
from fitserve.engines.registry import engine
from fitserve.plan.answer import Answer, cost_of, launch_command
from fitserve.predict.prices import DOLLAR, Rate
from fitserve.predict.types import Speed
from fitserve.render.forms import SCHEMA_VERSION, interval_form, reason_form
from fitserve.render.plan_cost import plan_cost_form
from fitserve.render.quality import quality_form
from fitserve.render.texts import Texts
from fitserve.search.evaluate import Evaluated, Fix

_DIGITS = 4
"""Of a predicted speed; more than any prediction has."""


def plan_title(item: Evaluated) -> str:
    """A plan in a line: model, format, engine, GPUs."""
    deployment = item.deployment
    gpus = ", ".join(f"{count} x {gpu}" for gpu, count in deployment.machine.counts) or "CPU"
    return f"{deployment.model.id} · {deployment.weight_format.name} · {deployment.engine} · {gpus}"


def fix_text(fix: Fix, texts: Texts) -> str:
    """A fix in words: the changed values and what they replace."""
    deployment = fix.result.deployment
    before, _, after = str(fix.instead_of).partition("x")
    parameters: dict[str, Any] = {
        **fix.change,
        "instead_of": parallel_text(int(before), int(after)) if fix.knob == "split" else fix.instead_of,
        "parallel": parallel_text(deployment.tp, deployment.pp),
        "layers": len(deployment.model.layers) + 1,
        "host_bytes": fix.result.budget.host_bytes if fix.result.budget else 0,
    }
    if isinstance(parameters.get("gpu"), str):
        gpu, _, count = parameters["gpu"].rpartition(":")
        parameters["gpu"] = f"{count} x {gpu}"
    knob = "version_format" if fix.knob == "version" and "format" in fix.change else fix.knob
    return texts.text("fix", knob, parameters)


def parallel_text(tp: int, pp: int) -> str:
    """`TP 2`, `PP 2`, `TP 2 x PP 2`, `TP 1`."""
    parts = [f"{name} {size}" for name, size in (("TP", tp), ("PP", pp)) if size > 1]
    return " x ".join(parts) or "TP 1"


def fix_form(fix: Fix, texts: Texts) -> dict[str, Any]:
    """FIX of the contract."""
    budget = fix.result.budget
    summary = {
        "verdict": str(fix.result.verdict),
        "total_bytes": None if budget is None else interval_form(budget.total_bytes, whole=True),
        "host_bytes": None if budget is None else budget.host_bytes,
        "max_context_tokens": None if budget is None else budget.kv.max_context_tokens,
        "speed": speed_form(fix.result.speed),
    }
    return {"change": dict(fix.change), "text": fix_text(fix, texts), "plan": summary}


def _variant_form(fix: Fix, texts: Texts) -> dict[str, Any]:
    """A FIX that a plan does not need, with the axes on which it wins and what is said of it alone."""
    return fix_form(fix, texts) | {
        "wins": list(fix.wins),
        "reasons": [reason_form(reason, texts) for reason in fix.result.reasons],
    }


def speed_form(speed: Speed | None) -> dict[str, Any] | None:
    """Speed of the contract; None where it is not known."""
    if speed is None:
        return None
    form: dict[str, Any] = {
        "ttft_s": interval_form(speed.ttft_s, digits=_DIGITS),
        "inter_token_s": interval_form(speed.inter_token_s, digits=_DIGITS),
        "output_tok_per_s": interval_form(speed.output_tok_per_s, digits=_DIGITS),
        "per_user_tok_per_s": interval_form(speed.per_user_tok_per_s, digits=_DIGITS),
        "prefill_tok_per_s": None
        if speed.prefill_tok_per_s is None
        else interval_form(speed.prefill_tok_per_s, digits=_DIGITS),
    }
    for name, rows in (("ttft", speed.ttft_percentiles_s), ("inter_token", speed.inter_token_percentiles_s)):
        form[f"{name}_percentiles_s"] = {percentile: interval_form(value, digits=_DIGITS) for percentile, value in rows}
    return form | {"basis": [{"kind": basis.kind, "ref": basis.ref} for basis in speed.basis]}


def memory_form(budget: MemoryBudget) -> dict[str, Any]:
    """Memory of the contract."""
    return {
        "devices": [
            {
                "device": device.device,
                "gpu": device.accelerator.id,
                "capacity_bytes": device.accelerator.memory_bytes,
                "usable_bytes": device.usable_bytes,
                "used_bytes": device.used_bytes,
                "items": [
                    {"code": item.code, "bytes": item.likely_bytes, "basis": item.basis.kind} for item in device.items
                ],
            }
            for device in budget.devices
        ],
        "host_bytes": budget.host_bytes,
        "host_items": [
            {"code": item.code, "bytes": item.likely_bytes, "basis": item.basis.kind} for item in budget.host_items
        ],
        "weights_bytes": budget.weights_bytes,
        "kv_format": budget.kv.format,
        "kv_bytes_per_token": budget.kv.bytes_per_token,
        "kv_bytes_at_context": budget.kv.bytes_at_context,
        "kv_capacity_tokens": budget.kv.capacity_tokens,
        "max_context_tokens": budget.kv.max_context_tokens,
        "max_concurrency": budget.kv.max_concurrency,
        "total_bytes": interval_form(budget.total_bytes, whole=True),
    }


def command_form(command: LaunchCommand, is_native: bool) -> dict[str, Any]:
    """Command of the contract."""
    return {
        "argv": list(command.argv),
        "env": dict(command.env),
        "files": [{"path": file.path, "text": file.text} for file in command.files],
        "then": [list(step) for step in command.then],
        "image": command.image,
        "port": command.port,
        "needs_token": command.needs_token,
        "shells": shell_texts(command, is_native),
    }


def steps_form(served: Served, texts: Texts) -> dict[str, Any]:
    """Keys of the command of a plan: the model's name in requests, and the steps before and after the start."""
    form: dict[str, Any] = {"served_name": served.name}
    for name, step in steps(served).items():
        form[name] = None if step is None else {"argv": list(step.argv), "shells": dict(step.shells)}
    if form["download"] is not None and served.is_gated:
        form["download"] |= {"licence_url": licence_url(served), "text": gated_text(served, texts)}
    return form


def licence_url(served: Served) -> str:
    """The page where the licence of a gated repository is accepted."""
    return f"https://huggingface.co/{served.repository}"


def gated_text(served: Served, texts: Texts) -> str:
    """What has to be done before a gated repository can be downloaded."""
    return texts.label("gated_download", url=licence_url(served))


def deployment_form(item: Evaluated) -> dict[str, Any]:
    """Deployment of the contract."""
    deployment, budget = item.deployment, item.budget
    used = deployment.machine.devices[: deployment.device_count]
    counts: dict[str, int] = {}
    for device in used:
        counts[device.id] = counts.get(device.id, 0) + 1
    return {
        "model": deployment.model.id,
        "repository": deployment.repository or deployment.model.id,
        "gpus": [{"gpu": gpu, "count": count} for gpu, count in counts.items()],
        "os": deployment.machine.host.os,
        "engine": deployment.engine,
        "engine_version": deployment.engine_version,
        "weight_format": deployment.weight_format.name,
        "kv_format": deployment.kv_format,
        "tp": deployment.tp,
        "pp": deployment.pp,
        "ep": deployment.ep,
        "dp": deployment.dp,
        "context_tokens": deployment.context_tokens,
        "concurrent_requests": deployment.concurrent_requests,
        "max_num_seqs": None if budget is None else budget.max_num_seqs,
        "offload_layers": deployment.offload_layers or 0,
        "options": dict(deployment.options),
    }


def plan_form(item: Evaluated, texts: Texts, rate: Rate = DOLLAR, use: str = "chat") -> dict[str, Any]:
    """PLAN of the contract. `speed` and `cost` are null where they are not known; amounts are in the currency of `rate`."""
    deployment, budget = item.deployment, item.budget
    command = launch_command(item)
    native = deployment.machine.host.os in engine(deployment.engine).native_os
    bases = (
        []
        if budget is None
        else [*(i.basis for d in budget.devices for i in d.items), *(i.basis for i in budget.host_items)]
    )
    return {
        "deployment": deployment_form(item),
        "verdict": str(item.verdict),
        "reasons": [reason_form(reason, texts) for reason in item.reasons],
        "fixes": [fix_form(fix, texts) for fix in item.fixes],
        "variants": [_variant_form(fix, texts) for fix in item.variants],
        "memory": None if budget is None else memory_form(budget),
        "speed": _speed_of(item),
        "users_within_targets": item.users_within_targets,
        "is_on_front": item.is_on_front,
        "quality": quality_form(item, use),
        "cost": plan_cost_form(cost_of(item, rate)) if item.fits else None,
        "command": None
        if command is None
        else command_form(command, native) | steps_form(served_of(item, command), texts),
        "basis": [{"kind": basis.kind, "ref": basis.ref} for basis in dict.fromkeys(bases)],
        "status": {
            name: {"state": part["state"], "text": part[texts.language]}
            for name, part in engine(deployment.engine).status.items()
        },
    }


def _speed_of(item: Evaluated) -> dict[str, Any] | None:
    form = speed_form(item.speed)
    if form is None or item.served is None:
        return form
    from fitserve.render.served import served_form  # only an estimate simulates

    return form | {"percentiles": served_form(item.served)}


def answer_form(answer: Answer, texts: Texts) -> dict[str, Any]:
    """The answer of `plan` and `fit`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "request": answer.request.model_dump(mode="json"),
        "plans": _plan_forms(answer.plans, answer, texts),
        "rejected": [*_unreadable(answer, texts), *_plan_forms(answer.timed_rejected, answer, texts)],
        "notes": [reason_form(reason, texts) for reason in answer.notes],
    }


def _plan_forms(items: Iterable[Evaluated], answer: Answer, texts: Texts) -> list[dict[str, Any]]:
    return [plan_form(item, texts, answer.rate, answer.use) for item in items]


def estimate_form(answer: Answer, texts: Texts) -> dict[str, Any]:
    """The answer of `estimate`."""
    from fitserve.render.variants import outlook_form  # it stands on this module

    plans = [*_unreadable(answer, texts), *_plan_forms((*answer.plans, *answer.timed_rejected), answer, texts)]
    return {
        "schema_version": SCHEMA_VERSION,
        "request": answer.request.model_dump(mode="json"),
        "plan": plans[0],
        "what_if": [outlook_form(step, answer) for step in answer.outlook],
        "load_curve": [
            {"concurrent_requests": users, "speed": speed_form(speed)} for users, speed in answer.load_curve
        ],
        "notes": [reason_form(reason, texts) for reason in answer.notes],
    }


def _unreadable(answer: Answer, texts: Texts) -> list[dict[str, Any]]:
    """A PLAN for a model whose kind is not known: verdict unknown, with the reason and nothing else."""
    if answer.unreadable is None:
        return []
    empty = dict.fromkeys(("memory", "speed", "quality", "cost", "command"))
    model = {"model": getattr(answer.request, "model", None)}
    reasons = [reason_form(answer.unreadable, texts)]
    return [{"deployment": model, "verdict": "unknown", "reasons": reasons, "fixes": [], **empty, "basis": []}]
