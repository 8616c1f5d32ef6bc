"""Answers that choose: which quantization, which engine, what to compare, what to buy, what fits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fitserve.ask.ground import (
    Gpus,
    Ground,
    capacity_bytes,
    is_severe,
    one_per_format,
    planned,
    room_tokens,
    sensible,
    used_bytes,
)
from fitserve.ask.offers import whatfits
from fitserve.ask.parts import (
    against_blocks,
    answered,
    command_blocks,
    follow_up,
    instead_blocks,
    plan_blocks,
    said,
    verdict_blocks,
)
from fitserve.ask.types import Against, AskAnswer, Block, Bullets, Heading, Memory, Named, Numbers, PlanTable, Say
from fitserve.foundation.reasons import Reason, note
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import device
from fitserve.plan.answer import Answer
from fitserve.search.evaluate import Evaluated, quality_class

_WIDTHS = ("6.0", "5.0", "4.65", "4.25", "4.0", "3.5")
_EXL_CAPABILITY = 80
_ALONE = 2
_LITTLE_LOSS = 2
_SCENES: tuple[tuple[str, Gpus, int], ...] = (
    ("two_24", (Named(gpu="rtx-3090", count=2),), 1),
    ("mac_64", (Named(gpu="apple-m4-max-40c", memory_bytes=64 * GIB),), 1),
    ("one_24", (Named(gpu="rtx-4090"),), 1),
    ("server", (Named(gpu="a100-sxm-80gb", count=1),), 8),
)


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
    return blocks + instead_blocks(answer, devices=False)[1:]


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
        "ask_pick", used_bytes=used_bytes(item), have_bytes=capacity_bytes(item) or None,
        context_tokens=item.deployment.context_tokens, room_tokens=room_tokens(item), longest_tokens=longest, **said(item),
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
        names = sorted(
            names, key=lambda name: -max(_throughput(item) for item in good if item.deployment.engine == name)
        )[:1]
    for name in names:
        mine = [item for item in good if item.deployment.engine == name]
        top = min(quality_class(item.deployment.model, item.deployment.weight_format) for item in mine)
        if picks and top > 2 and any(_level(item) <= 2 for item in picks):
            continue
        picks += _comfortable(mine) if wanted <= _ALONE else _for_many(mine)
    picks.sort(
        key=lambda item: (_level(item), item.deployment.engine.startswith("llama") and bool(gpus) and _is_nvidia(gpus))
    )
    return picks, answer


def _for_many(items: Sequence[Evaluated]) -> list[Evaluated]:
    """The format of little loss with the most tokens a second over all users."""
    good = [item for item in items if _level(item) <= _LITTLE_LOSS] or list(items)
    return [max(good, key=_throughput)]


def _throughput(item: Evaluated) -> float:
    """Tokens a second over all users; 0 where it is not predicted."""
    return 0.0 if item.speed is None else item.speed.output_tok_per_s.likely


def _level(item: Evaluated) -> int:
    return quality_class(item.deployment.model, item.deployment.weight_format)


def _comfortable(items: Sequence[Evaluated]) -> list[Evaluated]:
    """The widest format with room for half as much again as asked; the widest that fits where none has."""
    asked = items[0].deployment.context_tokens * items[0].deployment.concurrent_requests
    ranked = sorted(
        items, key=lambda item: (item.needs_quantizing and item.deployment.weight_format.family != "exl3", 0)
    )
    roomy = [item for item in ranked if room_tokens(item) >= asked and item.is_accelerated]
    first = (roomy or [item for item in ranked if item.is_accelerated] or ranked)[0]
    wider = [
        item
        for item in roomy
        if item.deployment.weight_format.effective_bits() > first.deployment.weight_format.effective_bits()
    ]
    return [
        max(wider, key=lambda item: item.deployment.weight_format.effective_bits())
        if wider and first.deployment.weight_format.family in {"exl2", "exl3"}
        else first
    ]


def _is_nvidia(gpus: Gpus) -> bool:
    return all(item.gpu != "none" and device(item.gpu).vendor == "nvidia" for item in gpus)


def _exl(ground: Ground, gpus: Gpus, users: int) -> list[Evaluated]:
    """EXL3 and EXL2 in the usual widths, where cards and users suit them."""
    if not gpus or users > _ALONE or not _is_nvidia(gpus) or ground.asked.os == "macos" or ground.asked.engines:
        return []
    if any((device(item.gpu).capability_number or 0) < _EXL_CAPABILITY for item in gpus) or any(
        device(item.gpu).memory_bytes > 48 * GIB for item in gpus
    ):
        return []
    named = [name for name in ground.asked.formats if name.startswith("exl")]
    if ground.asked.formats and not named:
        return []
    found: list[Evaluated] = []
    for family in ("exl3", "exl2"):
        for width in _WIDTHS:
            answer, _ = planned(
                ground,
                gpus,
                format=f"{family}:{width}bpw",
                engine=(f"exllamav{family[-1]}",),
                engine_version=None,
                concurrency=users,
            )
            found += answer.plans[:1]
    return found


def _quant_here(ground: Ground) -> AskAnswer:
    users = ground.asked.concurrency or 1
    picks, answer = _picks(ground, ground.gpus, users)
    if not picks:
        verdict, blocks, chosen = verdict_blocks(ground, answer)
        blocks += instead_blocks(answer) + plan_blocks(ground, answer, chosen)
        return answered(
            ground,
            verdict,
            blocks,
            plans=answer.plans[:3] or answer.rejected[:3],
            notes=answer.notes,
            follow_up=follow_up(ground, chosen, ground.model),
        )
    first = picks[0]
    blocks = [Say(note("ask_quant_best", **said(first)), strong=True), Bullets(tuple(_pick(item) for item in picks))]
    table = one_per_format([*picks, *sensible(answer.plans)], 10)
    blocks += [
        Heading("ask_plans"),
        PlanTable(table, rate=answer.rate),
        Heading("ask_why_formats"),
        Bullets(tuple(_families([*picks, *answer.plans[:1]]))),
    ]
    blocks += _named_formats(ground, answer)
    blocks += against_blocks(answer.rejected, has_plans=True)
    blocks += [Heading("ask_memory"), Memory(first), Numbers(first, answer.rate), *command_blocks(ground, first)]
    return answered(
        ground,
        "fits",
        blocks,
        plans=tuple(picks[:5]),
        notes=answer.notes,
        rate=answer.rate,
        follow_up=follow_up(ground, first, ground.model),
    )


def _named_formats(ground: Ground, answer: Answer) -> list[Block]:
    """How the formats that the question names do."""
    named = [
        name
        for name in ground.asked.formats
        if ":" in name or "-" in name or name in {"fp8", "bf16", "f16", "w4a16", "nvfp4"}
    ]
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
