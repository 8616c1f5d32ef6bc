"""Answers made short for agents: key numbers, the command, the reasons in words. Made from the JSON of CONTRACT, so
that nothing is computed twice. Sizes are GiB and say so in their names; a range is [low, likely, high]."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Form = dict[str, Any]
_GIB = 1 << 30
_PLANS, _REJECTED, _ROWS, _TEXTS, _FINDINGS = 3, 6, 15, 4, 12
_LONGEST = 320


def compact(name: str, form: Mapping[str, Any]) -> Form:
    """The short answer of a verb."""
    return _SHORT[name](form)


def _gib(value: float | None) -> float | None:
    return None if value is None else round(value / _GIB, 2)


def _range(value: Mapping[str, float] | None) -> list[float] | None:
    return None if value is None else [float(f"{value[key]:.3g}") for key in ("low", "likely", "high")]


def _texts(rows: Iterable[Mapping[str, Any]], most: int = _TEXTS) -> list[str]:
    """Texts of reasons, blockers and warnings before notes, each once."""
    order = {"blocker": 0, "warning": 1}
    ranked = sorted(rows, key=lambda row: order.get(str(row.get("severity")), 2))
    return [_cut(text) for text in list(dict.fromkeys(str(row["text"]) for row in ranked))[:most]]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _gpus(deployment: Mapping[str, Any]) -> str:
    return ", ".join(f"{row['count']} x {row['gpu']}" for row in deployment.get("gpus") or ()) or "CPU"


def _deployment(plan: Mapping[str, Any]) -> Form:
    found = plan["deployment"]
    form: Form = {"model": found.get("model")}
    if "engine" in found:
        form |= {
            "gpus": _gpus(found), "engine": f"{found['engine']}=={found['engine_version']}",
            "weight_format": found["weight_format"], "context_tokens": found["context_tokens"],
        }  # fmt: skip
        form |= {key: found[key] for key in ("tp", "pp", "dp") if found[key] > 1}
        form |= {"offload_layers": found["offload_layers"]} if found["offload_layers"] else {}
    return form


def _memory(memory: Mapping[str, Any] | None) -> Form | None:
    if memory is None:
        return None
    return {
        "devices": [
            {"gpu": row["gpu"], "used_gib": _gib(row["used_bytes"]), "usable_gib": _gib(row["usable_bytes"])}
            for row in memory["devices"][:_PLANS]
        ],
        "weights_gib": _gib(memory["weights_bytes"]), "kv_at_context_gib": _gib(memory["kv_bytes_at_context"]),
        "host_ram_gib": _gib(memory["host_bytes"]), "max_context_tokens": memory["max_context_tokens"],
        "max_concurrent_full_contexts": round(memory["max_concurrency"], 2),
    }  # fmt: skip


def _speed(speed: Mapping[str, Any] | None) -> Form | None:
    if speed is None:
        return None
    names = ("per_user_tok_per_s", "output_tok_per_s", "ttft_s")
    return {name: _range(speed[name]) for name in names}


def plan_short(plan: Mapping[str, Any], *, has_command: bool = True) -> Form:
    """A PLAN in some ten lines."""
    command, cost, quality = plan.get("command"), plan.get("cost"), plan.get("quality")
    form = _deployment(plan) | {
        "verdict": plan["verdict"], "memory": _memory(plan.get("memory")), "speed": _speed(plan.get("speed")),
        "quality_class": None if quality is None else quality["class"],
        "usd_per_hour": None if cost is None else cost["usd_per_hour"],
        "reasons": _texts(plan["reasons"]), "fixes": [_cut(fix["text"]) for fix in plan.get("fixes", ())[:_PLANS]],
    }  # fmt: skip
    if has_command and command is not None:
        form["command"] = command["shells"].get("bash") or " ".join(command["argv"])
        form["files"] = command["files"]
        form["download"] = None if command.get("download") is None else command["download"]["shells"].get("bash")
    return {key: value for key, value in form.items() if value not in (None, [], {})}


def _why_not(plans: Sequence[Mapping[str, Any]]) -> list[Form]:
    """Rejected candidates, one an engine and kind of reason; `same_for` are its other formats."""
    found: dict[tuple[Any, str], Form] = {}
    for plan in plans:
        blockers = [row for row in plan["reasons"] if row["severity"] == "blocker"] or plan["reasons"]
        key = (plan["deployment"].get("engine"), blockers[0]["code"] if blockers else "")
        if key in found:
            found[key].setdefault("same_for", []).append(plan["deployment"].get("weight_format"))
        else:
            found[key] = _deployment(plan) | {"verdict": plan["verdict"], "why": _texts(blockers, 1)}
            fixes = [_cut(fix["text"]) for fix in plan.get("fixes", ())[:2]]
            found[key] |= {"fixes": fixes} if fixes else {}
    return list(found.values())[:_REJECTED]


def _plan(form: Mapping[str, Any]) -> Form:
    best: dict[Any, Mapping[str, Any]] = {}
    for plan in form["plans"]:
        best.setdefault(plan["deployment"]["engine"], plan)
    shown = list(best.values())[:_PLANS]
    others = [plan for plan in form["plans"] if not any(plan is one for one in shown)]
    return {
        "plans": [plan_short(plan) for plan in shown], "other_plans": [_row(plan) for plan in others[:_REJECTED]],
        "plans_found": len(form["plans"]), "rejected": _why_not(form["rejected"]),
        "notes": _texts(form["notes"]),
    }  # fmt: skip


def _estimate(form: Mapping[str, Any]) -> Form:
    curve = [
        {"users": row["concurrent_requests"], "per_user_tok_per_s": _range(row["speed"]["per_user_tok_per_s"])}
        for row in form.get("load_curve", ())
        if row["speed"] is not None
    ]
    return {"plan": plan_short(form["plan"]), "load_curve": curve[:_ROWS], "notes": _texts(form["notes"])}


def _row(plan: Mapping[str, Any]) -> Form:
    """A plan in a line."""
    short = plan_short(plan, has_command=False)
    memory, speed = short.get("memory") or {}, short.get("speed") or {}
    keys = ("model", "weight_format", "engine", "verdict", "context_tokens", "quality_class")
    form = {key: short.get(key) for key in keys} | {
        "used_gib": [row["used_gib"] for row in memory.get("devices", ())],
        "max_context_tokens": memory.get("max_context_tokens"), "per_user_tok_per_s": speed.get("per_user_tok_per_s"),
    }  # fmt: skip
    return {key: value for key, value in form.items() if value not in (None, [])}


def _fit(form: Mapping[str, Any]) -> Form:
    return {
        "models": [_row(plan) for plan in form["plans"][:_ROWS]], "models_found": len(form["plans"]),
        "do_not_fit": len(form["rejected"]), "notes": _texts(form["notes"]),
    }  # fmt: skip


def _compare(form: Mapping[str, Any]) -> Form:
    rows = []
    for row in form["variants"]:
        plan = row["plan"]
        short = {"verdict": "unknown", "reasons": _texts(row["reasons"])} if plan is None else plan_short(plan)
        rows.append({"variant": row["variant"], **short})
    return {"variants": rows}


def _hardware(form: Mapping[str, Any]) -> Form:
    choices = [
        {
            "gpu": f"{row['count']} x {row['gpu']}", "usd_per_hour": row["usd_per_hour"], "list_usd": row["list_usd"],
            "users_within_targets": row["users_within_targets"], "plan": _row(row["plan"]),
        }
        for row in form["choices"][:_ROWS]
    ]  # fmt: skip
    return {"choices": choices, "do_not_carry_it": form["without"][:_ROWS], "notes": _texts(form["notes"])}


def _check(form: Mapping[str, Any]) -> Form:
    findings = [
        {"severity": row["severity"], "option": row["parameters"].get("option"), "text": _cut(row["text"])}
        for row in form["findings"][:_FINDINGS]
    ]
    corrected, plan = form["corrected"], form["plan"]
    return {
        "ok": form["ok"], "findings": findings,
        "corrected_command": None if corrected is None else corrected["shells"].get("bash") or " ".join(corrected["argv"]),
        "plan": None if plan is None else plan_short(plan, has_command=False), "notes": _texts(form["notes"]),
    }  # fmt: skip


def _diagnose(form: Mapping[str, Any]) -> Form:
    causes = [
        {
            "code": row["code"], "engine": row["engine"], "confidence": row["confidence"], "text": _cut(row["text"]),
            "evidence": [{"line": part["line"], "text": _cut(part["text"])} for part in row["evidence"][:2]],
            "fixes": [_remedy(fix) for fix in row["fixes"][:_TEXTS]],
        }
        for row in form["causes"][:_PLANS]
    ]  # fmt: skip
    compared = form["predicted_against_allocated"][:_FINDINGS]
    return {"causes": causes, "predicted_against_allocated": compared, "notes": _texts(form["notes"])}


def _remedy(fix: Mapping[str, Any]) -> Form:
    command = fix.get("command")
    short = {"text": _cut(fix["text"]), "change": fix.get("change"), "run": fix.get("run")}
    short["command"] = None if command is None else command["shells"].get("bash") or " ".join(command["argv"])
    return {key: value for key, value in short.items() if value not in (None, [], {})}


def _ask(form: Mapping[str, Any]) -> Form:
    names = ("kind", "verdict", "understood", "assumed", "answer", "follow_up")
    found = {name: form[name] for name in names}
    found["understood"] = {
        key: value for key, value in form["understood"].items() if value not in (None, [], {}, False)
    }
    return found | {"plans": [_row(plan) for plan in form["plans"][:_PLANS]]}


def _guide(form: Mapping[str, Any]) -> Form:
    setups = [
        {"purpose": row["purpose"], **_row(row["plan"]), "command": row["plan"]["command"]["shells"].get("bash")}
        for row in form["setups"]
        if row["plan"]["command"] is not None
    ]
    largest = [
        {"weight_format": row["weight_format"], "max_params_billions": round(row["max_params"] / 1e9, 1)}
        for table in form["fits"][:1]
        for row in table["limits"]
    ]
    engines = [
        {
            "engine": row["engine"],
            "version": row["version"],
            "formats": [name for name, state in row["formats"].items() if state == "runs"],
        }
        for device in form["devices"][:1]
        for row in device["engines"]
        if row["version"] is not None
    ]
    return {
        "machine": form["machine"], "setups": setups, "largest_model_by_format": largest, "engines": engines,
        "notes": _texts(form["notes"]),
    }  # fmt: skip


def _cost(form: Mapping[str, Any]) -> Form:
    names = ("usd_per_hour", "currency", "per_hour", "price_kind", "rows")
    found = {name: form[name] for name in names}
    for name in ("usd_per_million_output_tokens", "usd_per_million_input_tokens"):
        found[name] = _range(form[name])
    return {key: value for key, value in found.items() if value is not None} | {"notes": _texts(form["notes"])}


_SHORT = {
    "plan": _plan, "estimate": _estimate, "fit": _fit, "compare": _compare, "hardware": _hardware, "check": _check,
    "diagnose": _diagnose, "ask": _ask,
    "guide": _guide, "cost": _cost,
}  # fmt: skip
