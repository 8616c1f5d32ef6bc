"""Answers about one model on one machine: does it run, how, how fast, how long a context, how many users."""

from dataclasses import replace
from typing import Any

from fitserve.ask.ground import (
    SEVERE,
    Ground,
    flags,
    gpus_text,
    is_generic,
    is_severe,
    needed_bytes,
    one_per_format,
    planned,
    sensible,
)
from fitserve.ask.parts import (
    answered,
    command_blocks,
    follow_up,
    instead_blocks,
    plan_blocks,
    room_blocks,
    said,
    verdict_blocks,
    without_formats,
)
from fitserve.ask.premises import corrections
from fitserve.ask.types import AskAnswer, Block, Bullets, Curve, Grid, Heading, Named, PlanTable, Say
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.identify import device
from fitserve.models.formats import parse_format
from fitserve.plan.answer import Answer, estimate
from fitserve.plan.request import EstimateRequest
from fitserve.search.evaluate import Evaluated, quality_class

_FORMATS = (
    "bf16",
    "fp8",
    "gguf:Q8_0",
    "gguf:Q6_K",
    "gguf:Q5_K_M",
    "gguf:Q4_K_M",
    "awq-4bit",
    "gguf:Q3_K_M",
    "gguf:IQ2_M",
)
_WIDE = {"bf16", "f16", "fp8", "fp8-block"}
_LENGTHS = (4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576)
_HOLDERS = (
    ("rtx-3060-12gb", 1), ("rtx-4090", 1), ("rtx-5090", 1), ("rtx-a6000", 1), ("a100-sxm-80gb", 1), ("h200-sxm-141gb", 1),
    ("a100-sxm-80gb", 2), ("a100-sxm-80gb", 4), ("h200-sxm-141gb", 4), ("h200-sxm-141gb", 8),
)  # fmt: skip


def fit(ground: Ground) -> AskAnswer:
    """Does it run, with the command: a yes or no, the numbers, the table, and why not the others."""
    if not ground.asked.models:
        return memory_or_engine(ground)
    if not ground.gpus and not ground.asked.this_machine:
        return memory_needed(ground)
    answer, notes = planned(ground)
    verdict, blocks, chosen = verdict_blocks(ground, answer)
    if chosen is None:
        blocks += instead_blocks(answer) or _other_formats(ground)
    blocks += _asked_format(ground, answer, chosen)
    blocks += plan_blocks(ground, answer, chosen)
    blocks.append(
        Say(
            note(
                "ask_give_me",
                command=f"fitserve estimate {flags(ground, ground.model, format='FORMAT', context='32k', concurrency=4)}",
            )
        )
    )
    items = _items(answer, chosen)
    return answered(
        ground, verdict, blocks, plans=items, notes=(*notes, *answer.notes), rate=answer.rate,
        follow_up=follow_up(ground, chosen, ground.model),
    )  # fmt: skip


def _items(answer: Answer, chosen: Evaluated | None) -> tuple[Evaluated, ...]:
    first = () if chosen is None else (chosen,)
    rest = tuple(item for item in one_per_format(answer.plans) if item is not chosen)
    return (*first, *rest)[:5] or answer.rejected[:3]


def _other_formats(ground: Ground) -> list[Block]:
    """Where the format that was named does not run: the plans of the same model in others."""
    if not ground.asked.formats and not ground.asked.engines:
        return []
    answer, _ = planned(without_formats(ground), engine=(), engine_version=None, format=None)
    good = one_per_format(sensible(answer.plans), 4)
    if not good:
        return instead_blocks(answer)
    return [
        Heading("ask_instead"),
        Bullets((note("ask_instead_format", **said(good[0])),)),
        PlanTable(good),
        *command_blocks(ground, good[0]),
    ]


def _asked_format(ground: Ground, answer: Answer, chosen: Evaluated | None) -> list[Block]:
    """What the widest formats would need, where the best plan is a quantized one: the question behind the question."""
    if chosen is None or ground.asked.formats or not chosen.deployment.weight_format.is_quantized:
        return []
    found: dict[str, Reason] = {}
    for item in answer.rejected:
        name, memory = item.deployment.weight_format.name, sum(d.memory_bytes for d in item.deployment.machine.devices)
        weights = 0 if item.budget is None else item.budget.weights_bytes
        if name in _WIDE and name not in found and weights > memory > 0:
            found[name] = note("ask_too_wide", format=name, weights_bytes=weights, have_bytes=memory)
    return [Bullets(tuple(found.values()))] if found else []


def howto(ground: Ground) -> AskAnswer:
    """How to run it: the same judgement with the command in front; without hardware the smallest that carries it."""
    if not ground.asked.models:
        return memory_or_engine(ground)
    if not ground.gpus and not ground.asked.this_machine:
        return memory_needed(ground, with_command=True)
    return fit(ground)


def memory_or_engine(ground: Ground) -> AskAnswer:
    """A question on hardware that names no open model: what fits there; a closed model is a no."""
    from fitserve.ask.offers import whatfits  # answers to the other question

    found = whatfits(ground)
    is_closed = any(reason.code == "ask_premise_closed" for reason in corrections(ground.asked))
    return replace(found, verdict="not_supported") if is_closed else found


def memory_needed(ground: Ground, with_command: bool = False) -> AskAnswer:
    """What a model takes by format, and the smallest cards that hold it."""
    rows: list[tuple[str | tuple[str, float | int], ...]] = []
    blocks: list[Block] = []
    items: list[Evaluated] = []
    wanted = ground.asked.formats or _FORMATS
    for name in dict.fromkeys(wanted):
        item = _need(ground, name)
        if item is None or item.budget is None:
            continue
        items.append(item)
        kv = item.budget.kv
        rows.append(
            (
                item.deployment.weight_format.name, ("bytes", item.budget.weights_bytes), ("bytes", kv.bytes_at_context),
                ("bytes", needed_bytes(item)), gpus_text(item),
            )
        )  # fmt: skip
    first = next((item for item in items if item.fits), None)
    if first is not None and first.budget is not None:
        blocks.append(
            Say(
                note(
                    "ask_needs", weights_bytes=first.budget.weights_bytes, need_bytes=needed_bytes(first),
                    context_tokens=first.deployment.context_tokens, **said(first),
                ),
                strong=True,
            )
        )  # fmt: skip
    blocks += [
        Heading("ask_need_table"),
        Grid(("ask_format", ">ask_weights", ">ask_kv", ">ask_total", "ask_smallest"), tuple(rows)),
    ]
    chosen = _usual(items)
    if with_command and chosen is not None:
        blocks += [Say(note("ask_hardware_assumed", **said(chosen))), *command_blocks(ground, chosen)]
    blocks.append(Say(note("ask_say_hardware")))
    verdict = "fits" if chosen is not None and with_command else None
    return answered(ground, verdict, blocks, plans=tuple(items[:4]), follow_up=follow_up(ground, None, ground.model))


def _usual(items: list[Evaluated]) -> Evaluated | None:
    """The plan in four bits or the nearest to it."""
    fitting = [item for item in items if item.fits and not is_severe(item)]
    return min(fitting, key=lambda item: abs(item.deployment.weight_format.effective_bits() - 4.5), default=None)


def _need(ground: Ground, name: str) -> Evaluated | None:
    """A format on the smallest of the usual cards that hold it."""
    judged: Evaluated | None = None
    fields = {"format": None if is_generic(name) else name}
    least = _least_bytes(ground, name)
    for gpu, count in _HOLDERS:
        if device(gpu).memory_bytes * count < least and (gpu, count) != _HOLDERS[-1]:
            continue
        try:
            answer, _ = planned(ground, (Named(gpu=gpu, count=count),), **fields)
        except InputError:
            return None
        if answer.plans:
            return answer.plans[0]
        judged = next(iter(answer.rejected), judged)
    return judged


def _least_bytes(ground: Ground, name: str) -> float:
    """The weights alone, at four fifths of the format's bits: a card below that need not be judged."""
    bits = (
        int(name[:-3])
        if is_generic(name) and name.endswith("bit")
        else 2.0
        if is_generic(name)
        else parse_format(name).effective_bits()
    )
    return 0.8 * ground.world.read_model(ground.model).model.params("text") * bits / 8


def context(ground: Ground) -> AskAnswer:
    """The longest context that fits, and what the cache takes by length."""
    if not ground.gpus and not ground.asked.this_machine:
        return _cache_only(ground)
    answer, notes = planned(ground)
    verdict, blocks, chosen = verdict_blocks(ground, answer)
    if chosen is not None and chosen.budget is not None:
        kv = chosen.budget.kv
        limit = chosen.deployment.model.max_context_tokens
        if kv.max_context_tokens >= limit:
            code = note("ask_longest_is_model", longest_tokens=kv.max_context_tokens, **said(chosen))
        else:
            code = note("ask_longest", longest_tokens=kv.max_context_tokens, limit_tokens=limit, **said(chosen))
        blocks = [Say(code, strong=True), *blocks[1:], *_lengths(ground, chosen), *_cache_formats(ground, chosen)]
    else:
        blocks += instead_blocks(answer)
    blocks += plan_blocks(ground, answer, chosen)
    return answered(
        ground, verdict, blocks, plans=_items(answer, chosen), notes=(*notes, *answer.notes), rate=answer.rate,
        follow_up=follow_up(ground, chosen, ground.model),
    )  # fmt: skip


def _lengths(ground: Ground, item: Evaluated) -> list[Block]:
    rows: list[tuple[str | tuple[str, float | int], ...]] = []
    for length in _LENGTHS:
        if length > item.deployment.model.max_context_tokens:
            break
        judged = _estimated(ground, item, context=length)
        if judged is not None and judged.budget is not None:
            rows.append(
                (
                    ("tokens", length),
                    ("bytes", judged.budget.kv.bytes_at_context),
                    ("bytes", needed_bytes(judged)),
                    f"verdict:{judged.verdict}",
                )
            )
    return (
        [Heading("ask_by_length"), Grid((">ask_context", ">ask_kv", ">ask_total", "verdict"), tuple(rows))]
        if rows
        else []
    )


def _fixed(ground: Ground, item: Evaluated) -> dict[str, Any]:
    """Fields of a request for exactly this plan."""
    d = item.deployment
    return {
        "model": ground.model, "gpu": tuple(f"{gpu}:{count}" for gpu, count in d.machine.counts) or ("none",),
        "ram": None if d.machine.host.ram_bytes is None else f"{d.machine.host.ram_bytes}b", "os": d.machine.host.os,
        "engine": (d.engine,), "engine_version": d.engine_version, "format": d.weight_format.name, "kv_format": d.kv_format,
        "tp": d.tp, "pp": d.pp, "context": d.context_tokens, "concurrency": d.concurrent_requests,
    }  # fmt: skip


def _estimated(ground: Ground, item: Evaluated, **over: Any) -> Evaluated | None:
    try:
        answer = estimate(EstimateRequest.read(**_fixed(ground, item) | over), ground.world)
    except InputError:
        return None
    return next(iter((*answer.plans, *answer.rejected)), None)


def _cache_formats(ground: Ground, item: Evaluated) -> list[Block]:
    """What a narrower cache would give."""
    found: list[Reason] = []
    for kv_format in ("fp8", "q8_0"):
        judged = _estimated(ground, item, kv_format=kv_format)
        if judged is not None and judged.fits and judged.budget is not None and item.budget is not None:
            longest = judged.budget.kv.max_context_tokens
            if longest > item.budget.kv.max_context_tokens and ground.asked.kv_format is None:
                found.append(note("ask_kv_narrower", kv_format=kv_format, longest_tokens=longest))
    return [Bullets(tuple(found))] if found else []


def _cache_only(ground: Ground) -> AskAnswer:
    """KV bytes by length of a model without hardware."""
    answer = memory_needed(ground)
    item = next((plan for plan in answer.plans if plan.fits), None)
    if item is None or item.budget is None:
        return answer
    kv = item.budget.kv
    sentence = note(
        "ask_cache_size", model=item.deployment.model.id, bytes=kv.bytes_per_token, kv_bytes=kv.bytes_at_context,
        context_tokens=item.deployment.context_tokens, kv_format=kv.format,
    )  # fmt: skip
    blocks: list[Block] = [Say(sentence, strong=True), *_lengths(ground, item), *answer.blocks]
    return answered(ground, None, blocks, plans=answer.plans, follow_up=answer.follow_up)


def speed(ground: Ground) -> AskAnswer:
    """Tokens a second of the best plan, with its interval, and of the other formats."""
    answer, notes = planned(ground)
    verdict, blocks, chosen = verdict_blocks(ground, answer)
    if chosen is not None and chosen.speed is not None:
        rate = chosen.speed.per_user_tok_per_s
        sentence = note(
            "ask_speed", low=_rate(rate.low), likely=_rate(rate.likely), high=_rate(rate.high),
            all=_rate(chosen.speed.output_tok_per_s.likely), users=chosen.deployment.concurrent_requests, **said(chosen),
        )  # fmt: skip
        blocks = [Say(sentence, strong=True), *blocks[1:]]
    elif chosen is None:
        blocks += instead_blocks(answer)
    else:
        blocks = [Say(note("ask_speed_unknown", **said(chosen)), strong=True), *blocks[1:]]
    blocks += plan_blocks(ground, answer, chosen)
    return answered(
        ground, verdict, blocks, plans=_items(answer, chosen), notes=(*notes, *answer.notes), rate=answer.rate,
        follow_up=follow_up(ground, chosen, ground.model),
    )  # fmt: skip


def _rate(value: float) -> float:
    return float(f"{value:.3g}") if value >= 10 else float(f"{value:.2g}")


def users(ground: Ground) -> AskAnswer:
    """How many at once: what the cache holds, and what each gets as they become more."""
    answer, notes = planned(ground)
    verdict, blocks, chosen = verdict_blocks(ground, answer)
    many = _widest(answer, chosen)
    if many is not None and many.budget is not None:
        kv = many.budget.kv
        holds = max(1, int(min(kv.max_concurrency, many.budget.max_num_seqs)))
        sentence = note("ask_users", users=holds, context_tokens=many.deployment.context_tokens, **said(many))
        blocks = [Say(sentence, strong=True), *_wanted(ground, many, holds), *room_blocks(many), *_curve(ground, many)]
        if many.users_within_targets is not None:
            blocks.insert(
                1, Say(note("ask_users_within", count=many.users_within_targets, wanted=ground.asked.min_tok_per_s))
            )
    else:
        blocks += instead_blocks(answer)
    blocks += plan_blocks(ground, answer, many)
    return answered(
        ground, verdict, blocks, plans=_items(answer, many), notes=(*notes, *answer.notes), rate=answer.rate,
        follow_up=follow_up(ground, many, ground.model),
    )  # fmt: skip


def _widest(answer: Answer, chosen: Evaluated | None) -> Evaluated | None:
    """The plan that holds the most requests, of the quality of the best."""
    if chosen is None or chosen.budget is None:
        return chosen
    level = min(max(2, quality_class(chosen.deployment.model, chosen.deployment.weight_format)), SEVERE - 1)
    good = [
        item for item in answer.plans if quality_class(item.deployment.model, item.deployment.weight_format) <= level
    ]
    return max(
        [chosen, *good],
        key=lambda item: 0 if item.budget is None else min(item.budget.kv.max_concurrency, item.budget.max_num_seqs),
    )


def _wanted(ground: Ground, item: Evaluated, holds: int) -> list[Block]:
    wanted = ground.asked.concurrency
    if wanted is None or wanted <= 1:
        return []
    if wanted <= holds:
        rate = None if item.speed is None else _rate(item.speed.per_user_tok_per_s.likely)
        return [Say(note("ask_users_enough", wanted=wanted, rate=rate))]
    return [Say(note("ask_users_queue", wanted=wanted, users=holds))]


def _curve(ground: Ground, item: Evaluated) -> list[Block]:
    try:
        found = estimate(EstimateRequest.read(**_fixed(ground, item)), ground.world)
    except InputError:
        return []
    return [Heading("load_curve"), Curve(found.load_curve)] if found.load_curve else []
