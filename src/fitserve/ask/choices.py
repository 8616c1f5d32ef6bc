"""Answers that choose: which quantization, which engine, what to compare, what to buy, what fits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fitserve.ask.ground import (
    Gpus,
    Ground,
    capacity_bytes,
    flags,
    gpus_text,
    is_severe,
    one_per_format,
    planned,
    room_tokens,
    sensible,
    used_bytes,
)
from fitserve.ask.parts import against_blocks, answered, command_blocks, follow_up, instead_blocks, plan_blocks, said, since, verdict_blocks
from fitserve.ask.shortlist import shortlist
from fitserve.ask.types import Against, AskAnswer, Block, Bullets, Grid, Heading, Memory, Named, Numbers, PlanTable, Say
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import device
from fitserve.plan.answer import Answer, fit
from fitserve.plan.hardware import HardwareChoiceRequest, which_hardware
from fitserve.plan.request import FitRequest
from fitserve.search.evaluate import Evaluated, quality_class

_WIDTHS = ("6.0", "5.0", "4.65", "4.25", "4.0", "3.5")
_EXL_CAPABILITY = 80
_ALONE = 2
_ROWS = 12
_SCENES: tuple[tuple[str, Gpus, int], ...] = (
    ("two_24", (Named(gpu="rtx-3090", count=2),), 1),
    ("mac_64", (Named(gpu="apple-m4-max-40c", memory_bytes=64 * GIB),), 1),
    ("one_24", (Named(gpu="rtx-4090"),), 1),
    ("server", (Named(gpu="a100-sxm-80gb", count=1),), 8),
)
_BUY = ("rtx-3060-12gb", "rtx-4060-ti-16gb", "rtx-3090", "rtx-4090", "rtx-5090", "rtx-a6000", "rtx-pro-6000-blackwell", "l40s", "a100-sxm-80gb", "h100-sxm-80gb", "h200-sxm-141gb", "b200-sxm-180gb")  # fmt: skip


def quant(ground: Ground) -> AskAnswer:
    """The format for this hardware; without hardware, for the usual kinds of it."""
    if not ground.asked.models:
        return whatfits(ground)
    if ground.gpus or ground.asked.this_machine:
        return _quant_here(ground)
    blocks: list[Block] = [Say(note("ask_quant_depends", model=ground.model), strong=True)]
    plans: list[Evaluated] = []
    for code, gpus, users in _SCENES:
        picks, answer = _picks(ground, gpus, users)
        blocks.append(Heading(f"ask_scene_{code}"))
        blocks += _scene(picks, answer)
        plans += picks
    blocks += [Heading("ask_why_formats"), Bullets(tuple(_families(plans))), Say(note("ask_say_hardware"))]
    return answered(ground, None, blocks, plans=tuple(plans[:5]), follow_up=follow_up(ground, None, ground.model))


def _scene(picks: list[Evaluated], answer: Answer) -> list[Block]:
    if picks:
        sentences = tuple(_pick(item) for item in picks)
        return [Bullets(sentences), PlanTable(tuple(picks)), *_wider(picks, answer)]
    severe = [item for item in answer.plans if is_severe(item)]
    blocks: list[Block] = []
    if severe:
        blocks.append(Bullets((note("ask_only_severe", **said(severe[0])),)))
    else:
        nearest = next(iter(answer.rejected), None)
        blocks += [] if nearest is None else [Bullets((note("ask_not_here", **said(nearest)),))]
    fixes = [fix.result for item in answer.rejected for fix in item.fixes if fix.knob == "model"][:1]
    offload = [fix.result for item in answer.rejected for fix in item.fixes if fix.knob == "offload" and not is_severe(fix.result)][:1]
    sentences = [note("ask_instead_model", **said(item)) for item in fixes]
    for item in offload:
        rate = None if item.speed is None else round(item.speed.per_user_tok_per_s.likely, 1)
        sentences.append(note("ask_instead_offload", host_bytes=0 if item.budget is None else item.budget.host_bytes, rate=rate, **said(item)))
    return [*blocks, Bullets(tuple(sentences)), PlanTable((*fixes, *offload), names_model=True)] if sentences else blocks


def _wider(picks: list[Evaluated], answer: Answer) -> list[Block]:
    """The next wider GGUF, what it lacks, and what would make it fit."""
    gguf = next((item for item in picks if item.deployment.weight_format.family == "gguf"), None)
    if gguf is None:
        return []
    bits = gguf.deployment.weight_format.effective_bits()
    wider = [
        item for item in answer.rejected
        if item.deployment.weight_format.family == "gguf" and item.deployment.weight_format.effective_bits() > bits
    ]  # fmt: skip
    nearest = min(wider, key=lambda item: item.deployment.weight_format.effective_bits(), default=None)
    return [] if nearest is None else [Against((nearest,))]


def _pick(item: Evaluated) -> Reason:
    budget = item.budget
    longest = 0 if budget is None else budget.kv.max_context_tokens
    return note(
        "ask_pick", used_bytes=used_bytes(item), have_bytes=capacity_bytes(item) or None, context_tokens=item.deployment.context_tokens,
        room_tokens=room_tokens(item), longest_tokens=longest, **said(item),
    )  # fmt: skip


def _picks(ground: Ground, gpus: Gpus, users: int) -> tuple[list[Evaluated], Answer]:
    """The best format of each engine that suits the hardware and the number of users, good ones only."""
    wanted = ground.asked.concurrency or users
    over: dict[str, Any] = {"concurrency": wanted}
    answer, _ = planned(ground, gpus, **over)
    answer = replace(answer, plans=(*answer.plans, *_exl(ground, gpus, wanted)))
    picks: list[Evaluated] = []
    good = sensible(answer.plans)
    names = list(dict.fromkeys(item.deployment.engine for item in good))
    if wanted > _ALONE:
        names = [name for name in names if engine(name).facts.get("identity", {}).get("id") == "vllm"] or names
    for name in names:
        mine = [item for item in good if item.deployment.engine == name]
        top = min(quality_class(item.deployment.model, item.deployment.weight_format) for item in mine)
        if picks and top > 2 and any(_level(item) <= 2 for item in picks):
            continue
        picks += _comfortable(mine)
    picks.sort(key=lambda item: (_level(item), item.deployment.engine.startswith("llama") and bool(gpus) and _is_nvidia(gpus)))
    return picks, answer


def _level(item: Evaluated) -> int:
    return quality_class(item.deployment.model, item.deployment.weight_format)


def _comfortable(items: Sequence[Evaluated]) -> list[Evaluated]:
    """The widest format with room for half as much again as asked; the widest that fits where none has."""
    asked = items[0].deployment.context_tokens * items[0].deployment.concurrent_requests
    ranked = sorted(items, key=lambda item: (item.needs_quantizing and item.deployment.weight_format.family != "exl3", 0))
    roomy = [item for item in ranked if room_tokens(item) >= asked and item.is_accelerated]
    first = (roomy or [item for item in ranked if item.is_accelerated] or ranked)[0]
    wider = [item for item in roomy if item.deployment.weight_format.effective_bits() > first.deployment.weight_format.effective_bits()]
    return [max(wider, key=lambda item: item.deployment.weight_format.effective_bits()) if wider and first.deployment.weight_format.family in {"exl2", "exl3"} else first]


def _is_nvidia(gpus: Gpus) -> bool:
    return all(item.gpu != "none" and device(item.gpu).vendor == "nvidia" for item in gpus)


def _exl(ground: Ground, gpus: Gpus, users: int) -> list[Evaluated]:
    """EXL3 and EXL2 in the usual widths, where cards and users suit them."""
    if not gpus or users > _ALONE or not _is_nvidia(gpus) or ground.asked.os == "macos" or ground.asked.engines:
        return []
    if any((device(item.gpu).capability_number or 0) < _EXL_CAPABILITY for item in gpus) or any(device(item.gpu).memory_bytes > 48 * GIB for item in gpus):
        return []
    named = [name for name in ground.asked.formats if name.startswith("exl")]
    if ground.asked.formats and not named:
        return []
    found: list[Evaluated] = []
    for family in ("exl3", "exl2"):
        for width in _WIDTHS:
            answer, _ = planned(ground, gpus, format=f"{family}:{width}bpw", engine=(f"exllamav{family[-1]}",), engine_version=None, concurrency=users)
            found += answer.plans[:1]
    return found


def _quant_here(ground: Ground) -> AskAnswer:
    users = ground.asked.concurrency or 1
    picks, answer = _picks(ground, ground.gpus, users)
    if not picks:
        verdict, blocks, chosen = verdict_blocks(ground, answer)
        blocks += instead_blocks(ground, answer) + plan_blocks(ground, answer, chosen)
        return answered(ground, verdict, blocks, plans=answer.plans[:3] or answer.rejected[:3], notes=answer.notes, follow_up=follow_up(ground, chosen, ground.model))
    first = picks[0]
    blocks = [Say(note("ask_quant_best", **said(first)), strong=True), Bullets(tuple(_pick(item) for item in picks))]
    table = one_per_format([*picks, *sensible(answer.plans)], 10)
    blocks += [Heading("ask_plans"), PlanTable(table, rate=answer.rate), Heading("ask_why_formats"), Bullets(tuple(_families([*picks, *answer.plans[:1]])))]
    blocks += _named_formats(ground, answer)
    blocks += against_blocks(answer.rejected, has_plans=True)
    blocks += [Heading("ask_memory"), Memory(first), Numbers(first, answer.rate), *command_blocks(ground, first)]
    return answered(
        ground, "fits", blocks, plans=tuple(picks[:5]), notes=answer.notes, rate=answer.rate, follow_up=follow_up(ground, first, ground.model)
    )


def _named_formats(ground: Ground, answer: Answer) -> list[Block]:
    """How the formats that the question names do."""
    named = [name for name in ground.asked.formats if ":" in name or "-" in name or name in {"fp8", "bf16", "f16", "w4a16", "nvfp4"}]
    items = [
        item for name in named
        for item in (*answer.plans, *answer.rejected) if item.deployment.weight_format.name == name
    ][:6]  # fmt: skip
    return [Heading("ask_named"), PlanTable(tuple(items))] if len(named) > 1 and items else []


def _families(items: Sequence[Evaluated]) -> list[Reason]:
    """Why each family of formats."""
    found: list[Reason] = []
    kinds = dict.fromkeys(item.deployment.weight_format.family for item in items)
    for family in kinds:
        if family == "exl2" or family == "exl3":
            found.append(note("ask_why_exl"))
        elif family == "gguf":
            found.append(note("ask_why_gguf"))
        elif family == "int4":
            found.append(note("ask_why_int4"))
        elif family == "mlx":
            found.append(note("ask_why_mlx"))
        elif family == "fp8":
            found.append(note("ask_why_fp8"))
        elif family == "fp4":
            found.append(note("ask_why_fp4"))
    return [item for index, item in enumerate(found) if item not in found[:index]]


def engines(ground: Ground) -> AskAnswer:
    """The engine for this hardware, model and number of users: the best plan of each."""
    asked = ground.asked
    if not asked.models:
        return whatfits(ground) if ground.gpus and len(asked.engines) != 1 else _engine_alone(ground)
    if not ground.gpus and not asked.this_machine:
        return _support(ground)
    names = asked.engines or _suited(ground)
    rows: list[Evaluated] = []
    against: list[Evaluated] = []
    last: Answer | None = None
    for name in names:
        answer, _ = planned(ground, engine=(name,), engine_version=asked.engine_version if len(asked.engines) == 1 else None)
        good = sensible(answer.plans) or answer.plans
        rows += good[:1]
        against += [] if good else answer.rejected[:1]
        last = answer
    rows.sort(key=lambda item: _engine_key(item, asked.concurrency or 1))
    if not rows or last is None:
        answer, notes = planned(ground)
        verdict, blocks, chosen = verdict_blocks(ground, answer)
        return answered(ground, verdict, [*blocks, *plan_blocks(ground, answer, chosen)], plans=answer.plans[:3], notes=notes, follow_up=follow_up(ground, chosen, ground.model))
    first = rows[0]
    blocks = [Say(note("ask_engine_best", **said(first)), strong=True), Heading("ask_plans"), PlanTable(tuple(rows), rate=last.rate)]
    blocks += [Bullets(tuple(_about_engine(item, asked.concurrency or 1) for item in rows))]
    blocks += against_blocks(against, has_plans=True)
    blocks += [Heading("ask_memory"), Memory(first), Numbers(first, last.rate), *command_blocks(ground, first)]
    return answered(ground, "fits", blocks, plans=tuple(rows[:5]), notes=last.notes, follow_up=follow_up(ground, first, ground.model))


def _suited(ground: Ground) -> tuple[str, ...]:
    vendors = {device(item.gpu).vendor for item in ground.gpus if item.gpu != "none"}
    if vendors == {"apple"}:
        return ("mlx", "llama.cpp", "ollama", "lmstudio")
    if not vendors:
        return ("llama.cpp", "ollama", "vllm")
    if vendors != {"nvidia"}:
        return ("llama.cpp", "vllm", "ollama")
    few = ("vllm", "llama.cpp", "exllamav3", "sglang", "ollama")
    return few if (ground.asked.concurrency or 1) <= _ALONE else ("vllm", "sglang", "tensorrt-llm", "llama.cpp")


def _engine_key(item: Evaluated, users: int) -> tuple[float, ...]:
    speed = item.speed
    rate = 0.0 if speed is None else (speed.output_tok_per_s.likely if users > 1 else speed.per_user_tok_per_s.likely)
    return (float(max(2, _level(item))), float(item.needs_quantizing), float(users > 1 and item.has("requests_queue")), -rate)


def _about_engine(item: Evaluated, users: int) -> Reason:
    speed = item.speed
    rate = None if speed is None else float(f"{(speed.output_tok_per_s if users > 1 else speed.per_user_tok_per_s).likely:.3g}")
    at_once = 1 if item.budget is None else max(1, int(min(item.budget.kv.max_concurrency, item.budget.max_num_seqs)))
    return note("ask_engine_row", rate=rate, at_once=at_once, **said(item))


def _support(ground: Ground) -> AskAnswer:
    """Which release of an engine runs a model, without hardware: judged on a large card."""
    large = (Named(gpu="h200-sxm-141gb", count=8),)
    blocks: list[Block] = []
    plans: list[Evaluated] = []
    verdict = None
    for name in ground.asked.engines or ("vllm", "llama.cpp", "sglang"):
        answer, _ = planned(ground, large, engine=(name,))
        item = next(iter((*answer.plans, *answer.rejected)), None)
        if item is None:
            blocks.append(Say(note("ask_engine_offers_nothing", engine=name, model=ground.model)))
            continue
        plans.append(item)
        if item.fits:
            verdict = "fits"
            blocks += [Say(note("ask_supported", engine=name, model=item.deployment.model.id), strong=True), *since(item)]
        else:
            verdict = verdict or str(item.verdict)
            blocks += [Say(note("ask_not_supported", **said(item)), strong=True), Bullets(item.reasons[:2])]
    blocks.append(Say(note("ask_say_hardware")))
    return answered(ground, verdict, blocks, plans=tuple(plans[:3]), follow_up=follow_up(ground, None, ground.model))


def _engine_alone(ground: Ground) -> AskAnswer:
    """An engine on hardware without a model: which releases still run there."""
    asked = ground.asked
    name = next(iter(asked.engines), "llama.cpp")
    probe = replace(ground, asked=replace(asked, models=("meta-llama/Llama-3.1-8B-Instruct",), engines=(), engine_version=None))
    if not ground.gpus:
        return whatfits(ground)
    answer, _ = planned(probe, engine=(name,))
    item = next(iter((*answer.plans, *answer.rejected)), None)
    last = _last_version(item) if item is not None else None
    blocks: list[Block] = []
    if item is not None and item.fits:
        blocks.append(Say(note("ask_engine_runs_here", engine=name, version=item.deployment.engine_version, gpus=gpus_text(item)), strong=True))
    elif item is not None:
        blocks += [Say(note("ask_engine_not_here", engine=name, version=item.deployment.engine_version, gpus=gpus_text(item), last=last), strong=True), Bullets(item.reasons[:2])]
    verdict = None if item is None else str(item.verdict)
    return answered(ground, verdict, blocks, plans=() if item is None else (item,), follow_up=(f"fitserve fit {flags(ground, None)}",))


def _last_version(item: Evaluated) -> str | None:
    for fix in item.fixes:
        if fix.knob == "version":
            return str(fix.change.get("engine-version"))
    return None


def whatfits(ground: Ground) -> AskAnswer:
    """Models for this hardware and purpose, best first."""
    asked = ground.asked
    fields: dict[str, Any] = {
        "gpu": tuple("none" if item.gpu == "none" else f"{item.gpu}:{item.count}" for item in ground.gpus), "use": ground.use,
        "os": asked.os, "context": asked.context_tokens, "concurrency": asked.concurrency,
        "engine": asked.engines if len(asked.engines) == 1 else (),
        "ram": _ram(ground),
    }  # fmt: skip
    request = FitRequest.read(**fields)
    found = fit(request, ground.world, shortlist(_memory(ground), ground.use, asked.korean))
    items = found.plans[:_ROWS]
    if not items:
        return answered(ground, "does_not_fit", [Say(note("ask_fits_nothing"), strong=True)], notes=found.notes)
    largest = max(items, key=lambda item: item.deployment.model.params())
    fastest = max(items, key=lambda item: 0.0 if item.speed is None else item.speed.per_user_tok_per_s.likely)
    blocks: list[Block] = [
        Say(note("ask_whatfits", use=ground.use, **said(items[0])), strong=True),
        Bullets((note("ask_largest", **said(largest)), note("ask_fastest", **said(fastest)))),
        Heading("ask_models"), PlanTable(items, names_model=True, rate=found.rate),
    ]  # fmt: skip
    blocks += [Heading("ask_memory"), Memory(items[0]), Numbers(items[0], found.rate), *command_blocks(ground, items[0])]
    more = (f"fitserve fit {flags(ground, None)}", f"fitserve plan {flags(ground, items[0].deployment.model.id)}")
    return answered(ground, "fits", blocks, plans=items[:5], notes=found.notes, rate=found.rate, follow_up=more)


def _ram(ground: Ground) -> str | None:
    ram = ground.asked.ram_bytes or max((item.memory_bytes or 0 for item in ground.gpus), default=0)
    return f"{ram // GIB}GiB" if ram else None


def _memory(ground: Ground) -> int:
    """Bytes of the devices that are asked about; RAM without any."""
    total = sum((item.memory_bytes or device(item.gpu).memory_bytes) * item.count for item in ground.gpus if item.gpu != "none")
    if total:
        return total
    if ground.asked.ram_bytes:
        return ground.asked.ram_bytes
    machine = ground.world.this_machine()
    return sum(item.memory_bytes for item in machine.devices) or machine.host.ram_bytes or 16 * GIB


def compare(ground: Ground) -> AskAnswer:
    """What was named, side by side: models, cards, engines or formats."""
    asked = ground.asked
    rows: list[Evaluated] = []
    titles: list[str] = []
    rate = None
    if len(asked.models) >= 2 and not (ground.gpus or asked.this_machine):
        ground = replace(ground, gpus=(Named(gpu="a100-sxm-80gb", count=1),), assumed=(*ground.assumed, note("ask_card_for_comparison", gpus="1 x a100-sxm-80gb")))
    for title, over, gpus in _variants(ground):
        answer, _ = planned(ground, gpus, **over)
        good = sensible(answer.plans) or answer.plans
        item = next(iter((*good, *answer.rejected)), None)
        rate = answer.rate
        if item is not None:
            rows.append(item)
            titles.append(title)
    if not rows or rate is None:
        return answered(ground, None, [Say(note("ask_say_hardware"))])
    fitting = [(item, title) for item, title in zip(rows, titles, strict=True) if item.fits and not is_severe(item)]
    blocks: list[Block] = [Say(_winner(fitting, titles), strong=True), Heading("ask_side_by_side"), PlanTable(tuple(rows), tuple(titles), rate=rate)]
    if len(fitting) > 1:
        blocks.append(Bullets(tuple(_strengths(fitting))))
    chosen = min(fitting, key=lambda pair: _speed_key(pair[0]))[0] if fitting else None
    blocks += against_blocks([item for item in rows if not item.fits], has_plans=True)
    blocks += command_blocks(ground, chosen)
    variants = " ".join(f"'{item.deployment.model.id} format={item.deployment.weight_format.name} engine={item.deployment.engine} gpu={','.join(f'{g}:{n}' for g, n in item.deployment.machine.counts) or 'none'}'" for item in rows)
    return answered(
        ground, "fits" if fitting else str(rows[0].verdict), blocks, plans=tuple(rows[:5]), follow_up=(f"fitserve compare {variants}",), rate=rate
    )


def _variants(ground: Ground) -> list[tuple[str, dict[str, Any], Gpus | None]]:
    asked = ground.asked
    if len(asked.models) >= 2:
        return [(model.split("/")[-1], {"model": model}, None) for model in asked.models]
    if len(ground.gpus) >= 2:
        model = {} if asked.models else {"model": "meta-llama/Llama-3.1-8B-Instruct"}
        return [(f"{item.count} x {item.gpu}", model, (item,)) for item in ground.gpus]
    if len(asked.engines) >= 2:
        model = {} if asked.models else {"model": "meta-llama/Llama-3.1-8B-Instruct"}
        return [(name, {"engine": (name,), **model}, ground.gpus or (Named(gpu="a100-sxm-80gb"),)) for name in asked.engines]
    model = {} if asked.models else {"model": "meta-llama/Llama-3.1-8B-Instruct"}
    exact = [name for name in asked.formats if ":" in name or "-" in name or name in {"fp8", "bf16", "f16", "w4a16", "nvfp4", "mxfp4"}]
    stand_in = {"gguf": "gguf:Q4_K_M", "exl2": "exl2:4.65bpw", "exl3": "exl3:4.0bpw", "4bit": "awq-4bit", "8bit": "fp8"}
    names = [name if name in exact else stand_in.get(name, "bf16") for name in asked.formats]
    return [(name, {"format": name, **model}, ground.gpus or (Named(gpu="a100-sxm-80gb"),)) for name in dict.fromkeys(names)]


def _winner(fitting: list[tuple[Evaluated, str]], titles: list[str]) -> Reason:
    if not fitting:
        return note("ask_compare_none", names=tuple(titles))
    if len(fitting) == 1:
        return note("ask_compare_only", name=fitting[0][1])
    fastest = min(fitting, key=lambda pair: _speed_key(pair[0]))
    best = min(fitting, key=lambda pair: (max(1, _level(pair[0])), _speed_key(pair[0])))
    if fastest[1] == best[1]:
        return note("ask_compare_best", name=best[1])
    return note("ask_compare_split", fastest=fastest[1], best=best[1])


def _speed_key(item: Evaluated) -> float:
    return 0.0 if item.speed is None else -item.speed.per_user_tok_per_s.likely


def _strengths(fitting: list[tuple[Evaluated, str]]) -> list[Reason]:
    found: list[Reason] = []
    for item, title in fitting:
        if item.budget is None:
            continue
        rate = None if item.speed is None else float(f"{item.speed.per_user_tok_per_s.likely:.3g}")
        found.append(note("ask_compare_row", name=title, rate=rate, used_bytes=used_bytes(item), longest_tokens=item.budget.kv.max_context_tokens))
    return found


def buy(ground: Ground) -> AskAnswer:
    """GPUs that carry the model and its users, the cheapest to rent first, with list prices."""
    asked = ground.asked
    if not asked.models:
        return whatfits(ground) if ground.gpus else answered(ground, None, [Say(note("ask_which_model"), strong=True)])
    if ground.asked.are_alternatives:
        return compare(ground)
    fields: dict[str, Any] = {
        "model": ground.model, "gpu": tuple(item.gpu for item in ground.gpus if item.gpu != "none") or _BUY, "context": asked.context_tokens,
        "concurrency": asked.concurrency, "min_tok_per_s": asked.min_tok_per_s, "use": ground.use, "engine": asked.engines[:1],
        "format": asked.formats[0] if len(asked.formats) == 1 and (":" in asked.formats[0] or "-" in asked.formats[0] or asked.formats[0] in {"fp8", "bf16", "f16"}) else None,
    }  # fmt: skip
    try:
        found = which_hardware(HardwareChoiceRequest.read(**fields), ground.world)
    except FitserveError as error:
        if isinstance(error, InputError):
            raise
        return answered(ground, "unknown", [Say(note("ask_fits_nothing"), strong=True)])
    if not found.choices:
        return answered(ground, "does_not_fit", [Say(note("ask_buy_none", model=ground.model), strong=True)], notes=found.notes)
    return _bought(ground, found.choices, found.notes, found.rate, found.without)


def _bought(ground: Ground, choices: Any, notes: tuple[Reason, ...], rate: Any, without: tuple[str, ...]) -> AskAnswer:
    asked = ground.asked
    within = [c for c in choices if asked.budget_usd is None or (c.list_usd is not None and c.list_usd <= asked.budget_usd)]
    blocks: list[Block] = []
    if asked.budget_usd is not None and not within:
        blocks.append(Say(note("ask_budget_none", usd=f"{asked.budget_usd:,.0f}", model=ground.model), strong=True))
    first = (within or choices)[0]
    fewest = min(within or choices, key=lambda c: (c.count, c.list_usd if c.list_usd is not None else 10**9))
    owned = [c for c in (within or choices) if c.list_usd is not None]
    cheapest = min(owned, key=lambda c: c.list_usd, default=None)
    blocks.append(Say(note("ask_buy_first", count=first.count, gpu=first.gpu, **_one(first.item)), strong=not blocks))
    sentences = [note("ask_buy_fewest", count=fewest.count, gpu=fewest.gpu)]
    if cheapest is not None:
        sentences.append(note("ask_buy_cheapest", count=cheapest.count, gpu=cheapest.gpu, usd=f"{cheapest.list_usd:,.0f}"))
    if without:
        sentences.append(note("ask_buy_without", gpus=without))
    rows = tuple(
        (
            str(c.count), c.gpu, ("bytes", c.item.deployment.machine.devices[0].memory_bytes), c.item.deployment.weight_format.name, f"engine:{c.item.deployment.engine}",
            "–" if c.item.speed is None else ("rate", c.item.speed.per_user_tok_per_s.likely),
            "–" if c.usd_per_hour is None else f"${c.usd_per_hour:.2f}", "–" if c.list_usd is None else f"${c.list_usd:,.0f}",
        )
        for c in choices
    )  # fmt: skip
    blocks += [Bullets(tuple(sentences)), Heading("ask_choices"), Grid((">count", "gpu", ">device_memory", "format", "engine", ">per_user", ">rent_hour", ">list_price"), rows)]
    blocks += [Heading("ask_memory"), Memory(first.item), *command_blocks(ground, first.item)]
    more = (f"fitserve hardware {ground.model}" + (f" --concurrency {asked.concurrency}" if asked.concurrency else ""), f"fitserve plan {ground.model} --gpu {first.gpu}:{first.count}")
    return answered(ground, "fits", blocks, plans=tuple(c.item for c in choices[:5]), notes=notes, rate=rate, follow_up=more)


def _one(item: Evaluated) -> dict[str, Any]:
    names = said(item)
    return {key: names[key] for key in ("model", "engine", "format")}
