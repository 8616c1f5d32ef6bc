"""One judged candidate as a page shows it: verdict, sentence, bar, readings, items, reasons, fixes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fitserve.engines.contract import MemoryBudget, MemoryItem
from fitserve.engines.registry import engine
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, Severity, Verdict
from fitserve.plan.answer import cost_of
from fitserve.predict.prices import DOLLAR, Rate
from fitserve.render.human import bytes_text, count_text
from fitserve.render.json_form import fix_text, parallel_text
from fitserve.render.money import money_text, price_text
from fitserve.render.speed_text import rate_text, seconds_text
from fitserve.render.tables import quality_text
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated, Fix
from fitserve.web.asked import Asked, pick_of
from fitserve.web.bars import ORDER, bars_of, full_bars, mini_bar
from fitserve.web.frame import gib_text, tokens_text
from fitserve.web.names import capital, gpu_title, short_name

_STATES = {Verdict.DOES_NOT_FIT: "no", Verdict.NOT_SUPPORTED: "unsup", Verdict.UNKNOWN: "unknown"}
_TIGHT = ("tight", "requests_queue", "target_")
_PICKED = ("engine", "format", "engine-version", "tp", "pp", "ep", "dp")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A value with its unit, and what stands below it in small type."""

    name: str
    value: str
    unit: str = ""
    note: str = ""


def state_of(item: Evaluated) -> str:
    """fits, tight, no, unsup or unknown. Tight is a yes with a warning about room or a missed target."""
    if not item.fits:
        return _STATES[item.verdict]
    warned = any(r.severity is Severity.WARNING and r.code.startswith(_TIGHT) for r in item.reasons)
    return "tight" if warned else "fits"


def gpus_text(item: Evaluated, words: Texts) -> str:
    """The devices in use: `2 × rtx-3090`, or CPU."""
    used = item.deployment.machine.devices[: item.deployment.device_count]
    counts: dict[str, int] = {}
    for device in used:
        counts[device.id] = counts.get(device.id, 0) + 1
    parts = [
        words.text("web", "gpu_count", {"gpu": gpu_title(gpu), "number": str(count)}) for gpu, count in counts.items()
    ]
    return " + ".join(parts) or "CPU"


def headline(item: Evaluated, words: Texts) -> str:
    """The answer in one sentence."""
    deployment, budget = item.deployment, item.budget
    at_once = 0 if budget is None else int(min(budget.kv.max_concurrency, budget.max_num_seqs))
    wanted = deployment.concurrent_requests
    given = {
        "gpus": gpus_text(item, words), "model": short_name(deployment.model.id),
        "format": deployment.weight_format.name, "engine": deployment.engine, "context": tokens_text(deployment.context_tokens),
        "users": str(wanted), "at_once": str(max(1, at_once)), "short": _short_of(item),
    }  # fmt: skip
    if not item.fits:
        return words.text("web", f"say_{_STATES[item.verdict]}", given)
    if wanted > max(1, at_once):
        return words.text("web", "say_queue", given)
    return words.text("web", "say_one" if wanted == 1 else "say_fits", given)


def _short_of(item: Evaluated) -> str:
    """What is missing, of the reason that lacks most."""
    lacks = [0.0]
    for reason in item.reasons:
        need, have = reason.parameters.get("need_bytes"), reason.parameters.get("have_bytes")
        if isinstance(need, int | float) and isinstance(have, int | float) and reason.severity is Severity.BLOCKER:
            lacks.append(float(need) - float(have))
    return bytes_text(max(lacks)).replace(" ", "\u00a0") if max(lacks) > 0 else "?"


def reasons_of(item: Evaluated, words: Texts) -> list[dict[str, str]]:
    """Reasons in words; where it cannot run at all, memory is beside the point."""
    shown = item.reasons
    if item.verdict is Verdict.NOT_SUPPORTED:
        shown = tuple(reason for reason in shown if reason.verdict is Verdict.NOT_SUPPORTED) or shown
    return [reason_view(reason, words) for reason in shown]


def reason_view(reason: Reason, words: Texts) -> dict[str, str]:
    """A reason: its weight, its words, and where it is from."""
    source = "" if reason.source is None else f"{reason.source.ref} ({reason.source.checked})"
    return {"severity": str(reason.severity), "text": words.reason(reason), "source": source}


def readings(item: Evaluated, words: Texts, rate: Rate) -> list[Reading]:
    """Memory, speed, first token, context, cost; a dash where it is not known."""
    budget, speed = item.budget, item.speed
    found = []
    if budget is not None:
        found.append(_memory_reading(item, budget, words))
    per_user, first = (None, None) if speed is None else (speed.per_user_tok_per_s, speed.ttft_s)
    low_high = "" if per_user is None else spread_text(per_user)
    found.append(
        Reading(
            name=words.text("web", "per_user"),
            value="–" if per_user is None else rate_text(per_user.likely),
            unit="" if per_user is None else "tok/s",
            note=low_high,
        )
    )
    value, _, unit = ("–", "", "") if first is None else seconds_text(first.likely).partition(" ")
    spread = "" if first is None else f"{seconds_text(first.low)} – {seconds_text(first.high)}"
    found.append(Reading(name=words.text("web", "first_token"), value=value, unit=unit, note=spread))
    if budget is not None:
        longest = count_text(budget.kv.max_context_tokens) if budget.kv.max_context_tokens else "–"
        at_once = budget.kv.max_concurrency
        room = words.text("web", "room_for", {"number": _number(at_once)}) if at_once and item.fits else ""
        found.append(Reading(name=words.text("web", "longest"), value=longest, note=room))
    return [*found, *_cost_reading(item, words, rate)]


def spread_text(rate: Interval) -> str:
    """`34 – 49`, of tokens a second."""
    return f"{rate_text(rate.low)} – {rate_text(rate.high)}"


def _memory_reading(item: Evaluated, budget: MemoryBudget, words: Texts) -> Reading:
    fullest = max(budget.devices, key=lambda device: device.used_bytes / max(1, device.usable_bytes), default=None)
    if fullest is None:
        ram = item.deployment.machine.host.ram_bytes
        whole = f"/ {gib_text(ram)} GiB" if ram else "GiB"
        return Reading(name=words.text("web", "memory"), value=gib_text(budget.host_bytes), unit=whole, note="RAM")
    note = f"{words.text('memory', 'weights')} {gib_text(fullest.item('weights'))} · KV {gib_text(fullest.item('kv_cache'))}"
    return Reading(
        name=words.text("web", "memory_per_gpu" if len(budget.devices) > 1 else "memory"), note=note,
        value=gib_text(fullest.used_bytes), unit=f"/ {gib_text(fullest.accelerator.memory_bytes)} GiB",
    )  # fmt: skip


def _number(value: float) -> str:
    """One place below ten, and never rounded up: 0.99 is not 1."""
    return f"{int(value * 10) / 10:,.1f}" if value < 10 else f"{int(value):,}"


def _cost_reading(item: Evaluated, words: Texts, rate: Rate) -> list[Reading]:
    found = cost_of(item, rate) if item.fits else None
    name = words.text("web", "rent")
    if found is None:
        return [
            Reading(
                name=name,
                value="–",
                note=words.text("web", "no_price") if item.fits and item.deployment.machine.devices else "",
            )
        ]
    price = price_text(rate.of(found.usd_per_hour), rate.currency, words.language)
    tokens, note = found.usd_per_million_output_tokens, ""
    if tokens is not None:
        amount = money_text(tokens.likely * float(rate.per_usd), rate.currency, words.language)
        note = words.text("web", "per_million", {"price": amount})
    return [Reading(name=name, value=price, unit=words.text("web", "an_hour"), note=note)]


def item_rows(item: Evaluated, words: Texts) -> list[dict[str, Any]]:
    """The itemised table: one group for each different device, one for RAM."""
    budget = item.budget
    if budget is None:
        return []
    groups: dict[tuple[object, ...], list[Any]] = {}
    for device in budget.devices:
        key = (device.accelerator.id, device.usable_bytes, tuple((i.code, i.likely_bytes) for i in device.items))
        groups.setdefault(key, []).append(device)
    found = []
    for group in groups.values():
        device, count = group[0], len(group)
        title = gpu_title(device.accelerator.id)
        name = f"{title} × {count}" if count > 1 else f"GPU {device.device} · {title}"
        whole = max(device.accelerator.memory_bytes, device.usable_bytes)
        found.append({
            "name": name, "rows": [_item_row(i, words) for i in _sorted(device.items)], "used": device.used_bytes,
            "usable": device.usable_bytes, "whole": whole, "free": device.usable_bytes - device.used_bytes,
            "kept": whole - device.usable_bytes,
        })  # fmt: skip
    if budget.host_items:
        ram = item.deployment.machine.host.ram_bytes
        found.append({
            "name": "RAM", "rows": [_item_row(i, words) for i in _sorted(budget.host_items)], "used": budget.host_bytes,
            "usable": ram, "whole": ram, "free": None if ram is None else ram - budget.host_bytes, "kept": 0,
        })  # fmt: skip
    return found


def _sorted(items: tuple[MemoryItem, ...]) -> list[MemoryItem]:
    return sorted((i for i in items if i.likely_bytes), key=lambda i: ORDER.index(i.code) if i.code in ORDER else 0)


def _item_row(item: MemoryItem, words: Texts) -> dict[str, Any]:
    return {
        "code": item.code, "name": capital(words.text("memory", item.code)), "bytes": item.likely_bytes, "is_rest": item.is_rest,
        "spread": _spread(item.bytes), "basis": item.basis.kind, "ref": item.basis.ref,
        "basis_name": words.text("web", f"basis_{item.basis.kind}"), "why": words.text("web", f"why_{item.code}"),
    }  # fmt: skip


def _spread(value: Interval) -> str:
    """`9.6–10.9`; nothing where it is exact."""
    if value.high - value.low < 0.005 * _GIB:
        return ""
    return f"{value.low / _GIB:.2f}–{value.high / _GIB:.2f}"


def fix_views(item: Evaluated, asked: Asked, words: Texts, most: int = 6) -> list[dict[str, Any]]:
    """Fixes with the address that applies them and what comes of it."""
    return [fix_view(fix, asked, words) for fix in item.fixes[:most]]


def fix_view(fix: Fix, asked: Asked, words: Texts) -> dict[str, Any]:
    """One fix: words, the recomputed verdict and speed, the address."""
    speed = fix.result.speed
    return {
        "text": fix_text(fix, words), "state": state_of(fix.result), "href": f"/plan?{fixed_query(fix, asked)}",
        "speed": None if speed is None else rate_text(speed.per_user_tok_per_s.likely),
        "total": None if fix.result.budget is None else bytes_text(fix.result.budget.total_bytes.likely),
    }  # fmt: skip


def fixed_query(fix: Fix, asked: Asked) -> str:
    """The address after a fix: what it changes, and the candidate that came of it."""
    change: dict[str, object] = {
        name.replace("-", "_"): value for name, value in fix.change.items() if name not in _PICKED and name != "gpu"
    }
    if "gpu" in fix.change:
        change["gpu"] = tuple(str(fix.change["gpu"]).split(","))
    if "model" in fix.change:
        return asked.query(change | {"pick": None, "format": None, "engine": None, "engine_version": None})
    for name in ("format", "engine", "engine_version", "tp", "pp", "dp", "ep"):
        if name in asked.values:  # what was fixed stays fixed, with the new value
            given = fix.change.get(name.replace("_", "-"))
            change[name] = given if given is not None else asked.values[name]
    return asked.query(change | {"pick": pick_of(fix.result.deployment)})


def shown_view(item: Evaluated, asked: Asked, words: Texts, rate: Rate = DOLLAR) -> dict[str, Any]:
    """Everything of a candidate that a slider changes."""
    deployment, state = item.deployment, state_of(item)
    bars = () if item.budget is None else bars_of(item.budget, deployment.machine.host.ram_bytes, words)
    has_bar = bool(bars) and state in {"fits", "tight", "no"}
    kv = None if item.budget is None else item.budget.kv
    return {
        "state": state, "verdict": words.text("web", f"verdict_{state}"), "say": headline(item, words),
        "pick": pick_of(deployment), "model": deployment.model.id, "format": deployment.weight_format.name,
        "engine": value_text("engine", deployment.engine), "version": deployment.engine_version,
        "gpus": gpus_text(item, words), "split": split_text(item, words), "os": deployment.machine.host.os,
        "quality": capital(quality_text(item, words)), "context": deployment.context_tokens,
        "bar": full_bars(bars, words) if has_bar else Markup(""), "mini": mini_bar(bars, words) if has_bar else Markup(""),
        "notched": any(0 < bar.requests <= 24 for bar in bars) and state != "no",
        "speed": None if item.speed is None else rate_text(item.speed.per_user_tok_per_s.likely),
        "readings": readings(item, words, rate), "groups": item_rows(item, words) if has_bar else [],
        "kv": kv, "reasons": reasons_of(item, words), "fixes": fix_views(item, asked, words),
        "calibration": _calibration(item, words),
    }  # fmt: skip


def _calibration(item: Evaluated, words: Texts) -> Mapping[str, str]:
    status = engine(item.deployment.engine).status["memory"]
    return {"state": status["state"], "text": status[words.language]}


def split_text(item: Evaluated, words: Texts) -> str:
    """How it is spread: `TP 2`, `CPU`, layers in RAM."""
    deployment = item.deployment
    if not deployment.machine.devices:
        return "CPU"
    text = parallel_text(deployment.tp, deployment.pp) if deployment.device_count > 1 else "1 GPU"
    if deployment.offload_layers:
        text += ", " + words.label("offloaded", count=deployment.offload_layers)
    return text
