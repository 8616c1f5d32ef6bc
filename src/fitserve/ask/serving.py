"""Answers about engines: which of them for this hardware, which releases run a model or a card."""

from dataclasses import replace

from fitserve.ask.ground import Ground, flags, gpus_text, planned, sensible
from fitserve.ask.offers import whatfits
from fitserve.ask.parts import (
    against_blocks,
    answered,
    command_blocks,
    follow_up,
    plan_blocks,
    said,
    since,
    verdict_blocks,
)
from fitserve.ask.text import lexicon
from fitserve.ask.types import AskAnswer, Block, Bullets, Heading, Memory, Named, Numbers, PlanTable, Say
from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.identify import device
from fitserve.plan.answer import Answer
from fitserve.search.evaluate import Evaluated, quality_class

_ALONE = 2
_SMALL_LOSS = 2
"""Quality classes up to this one are not told apart when engines are."""


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
        answer, _ = planned(
            ground, engine=(name,), engine_version=asked.engine_version if len(asked.engines) == 1 else None
        )
        good = sensible(answer.plans) or answer.plans
        rows += _first(good, asked.concurrency or 1)
        against += [] if good else answer.rejected[:1]
        last = answer
    rows.sort(key=lambda item: _engine_key(item, asked.concurrency or 1))
    if not rows or last is None:
        answer, notes = planned(ground)
        verdict, blocks, chosen = verdict_blocks(ground, answer)
        return answered(
            ground,
            verdict,
            [*blocks, *plan_blocks(ground, answer, chosen)],
            plans=answer.plans[:3],
            notes=notes,
            follow_up=follow_up(ground, chosen, ground.model),
        )
    first = rows[0]
    blocks = [
        Say(note("ask_engine_best", **said(first)), strong=True),
        Heading("ask_plans"),
        PlanTable(tuple(rows), rate=last.rate),
    ]
    blocks += [Bullets(tuple(_about_engine(item, asked.concurrency or 1) for item in rows))]
    blocks += against_blocks(against, has_plans=True)
    blocks += [Heading("ask_memory"), Memory(first), Numbers(first, last.rate), *command_blocks(ground, first)]
    return answered(
        ground,
        "fits",
        blocks,
        plans=tuple(rows[:5]),
        notes=last.notes,
        follow_up=follow_up(ground, first, ground.model),
    )


def _suited(ground: Ground) -> tuple[str, ...]:
    """Engines worth judging for the devices and the number of users."""
    vendors = {device(item.gpu).vendor for item in ground.gpus if item.gpu != "none"}
    table = lexicon()["suited"]
    kind = next(iter(vendors)) if len(vendors) == 1 else "cpu" if not vendors else "other"
    many = f"{kind}_many"
    return tuple(
        table[
            many if (ground.asked.concurrency or 1) > _ALONE and many in table else kind if kind in table else "other"
        ]
    )


def _first(items: tuple[Evaluated, ...], users: int) -> list[Evaluated]:
    """The plan that an engine stands for: the best for one, for many users the one with the most tokens a second."""
    if users <= _ALONE or not items:
        return list(items[:1])
    good = [
        item for item in items if quality_class(item.deployment.model, item.deployment.weight_format) <= _SMALL_LOSS
    ]
    return [max(good or items, key=_all_users)]


def _all_users(item: Evaluated) -> float:
    return 0.0 if item.speed is None else item.speed.output_tok_per_s.likely


def _engine_key(item: Evaluated, users: int) -> tuple[float, ...]:
    """Smaller is better: for many users the tokens of all, for one quality, work to do first, then speed."""
    if users > _ALONE:
        return (-_all_users(item),)
    level = quality_class(item.deployment.model, item.deployment.weight_format)
    rate = 0.0 if item.speed is None else item.speed.per_user_tok_per_s.likely
    return (float(max(_SMALL_LOSS, level)), float(item.needs_quantizing), -rate)


def _about_engine(item: Evaluated, users: int) -> Reason:
    speed = item.speed
    rate = (
        None
        if speed is None
        else float(f"{(speed.output_tok_per_s if users > 1 else speed.per_user_tok_per_s).likely:.3g}")
    )
    at_once = 1 if item.budget is None else max(1, int(min(item.budget.kv.max_concurrency, item.budget.max_num_seqs)))
    return note("ask_engine_row", rate=rate, at_once=at_once, **said(item))


def _support(ground: Ground) -> AskAnswer:
    """Which release of an engine runs a model, without hardware: judged on a large card."""
    large = (Named(gpu="h200-sxm-141gb", count=8),)
    blocks: list[Block] = []
    plans: list[Evaluated] = []
    verdict = None
    for name in ground.asked.engines or tuple(lexicon()["suited"]["support"]):
        answer, _ = planned(ground, large, engine=(name,))
        item = next(iter((*answer.plans, *answer.rejected)), None)
        if item is None:
            blocks.append(Say(note("ask_engine_offers_nothing", engine=name, model=ground.model)))
            continue
        plans.append(item)
        if item.fits:
            verdict = "fits"
            blocks += [
                Say(note("ask_supported", engine=name, model=item.deployment.model.id), strong=True),
                *since(item),
            ]
        else:
            verdict = verdict or str(item.verdict)
            blocks += [Say(note("ask_not_supported", **said(item)), strong=True), Bullets(item.reasons[:2])]
    blocks.append(Say(note("ask_say_hardware")))
    return answered(ground, verdict, blocks, plans=tuple(plans[:3]), follow_up=follow_up(ground, None, ground.model))


def _engine_alone(ground: Ground) -> AskAnswer:
    """An engine on hardware without a model: which releases still run there."""
    asked = ground.asked
    name = next(iter(asked.engines), lexicon()["suited"]["cpu"][0])
    probe = replace(
        ground, asked=replace(asked, models=("meta-llama/Llama-3.1-8B-Instruct",), engines=(), engine_version=None)
    )
    if not ground.gpus:
        return whatfits(ground)
    answer, _ = planned(probe, engine=(name,))
    item = next(iter((*answer.plans, *answer.rejected)), None)
    last = _last_version(item) if item is not None else None
    blocks: list[Block] = []
    if item is not None and item.fits:
        blocks.append(
            Say(
                note("ask_engine_runs_here", engine=name, version=item.deployment.engine_version, gpus=gpus_text(item)),
                strong=True,
            )
        )
    elif item is not None:
        blocks += [
            Say(
                note(
                    "ask_engine_not_here",
                    engine=name,
                    version=item.deployment.engine_version,
                    gpus=gpus_text(item),
                    last=last,
                ),
                strong=True,
            ),
            Bullets(item.reasons[:2]),
        ]
    verdict = None if item is None else str(item.verdict)
    return answered(
        ground,
        verdict,
        blocks,
        plans=() if item is None else (item,),
        follow_up=(f"fitserve fit {flags(ground, None)}",),
    )


def _last_version(item: Evaluated) -> str | None:
    for fix in item.fixes:
        if fix.knob == "version":
            return str(fix.change.get("engine-version"))
    return None
