"""Answers that put what was named side by side: models, cards, engines, formats."""

from dataclasses import replace
from typing import Any

from fitserve.ask.ground import Gpus, Ground, is_generic, is_severe, planned, sensible, used_bytes
from fitserve.ask.making import usual_format
from fitserve.ask.parts import against_blocks, answered, command_blocks
from fitserve.ask.types import AskAnswer, Block, Bullets, Heading, Named, PlanTable, Say
from fitserve.foundation.reasons import Reason, note
from fitserve.search.evaluate import Evaluated, quality_class

_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
"""Stands in where cards, engines or formats are compared without a model; the row names it."""
_CARD = Named(gpu="a100-sxm-80gb")


def compare(ground: Ground) -> AskAnswer:
    """What was named, side by side: models, cards, engines or formats."""
    asked = ground.asked
    rows: list[Evaluated] = []
    titles: list[str] = []
    rate = None
    if len(asked.models) >= 2 and not (ground.gpus or asked.this_machine):
        ground = replace(
            ground, gpus=(_CARD,), assumed=(*ground.assumed, note("ask_card_for_comparison", gpus="1 x a100-sxm-80gb"))
        )
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
    blocks: list[Block] = [
        Say(_winner(fitting, titles), strong=True),
        Heading("ask_side_by_side"),
        PlanTable(tuple(rows), tuple(titles), rate=rate),
    ]
    if len(fitting) > 1:
        blocks.append(Bullets(tuple(_strengths(fitting))))
    chosen = min(fitting, key=lambda pair: _speed_key(pair[0]))[0] if fitting else None
    blocks += against_blocks([item for item in rows if not item.fits], has_plans=True)
    blocks += command_blocks(ground, chosen)
    variants = " ".join(_written(item) for item in rows)
    return answered(
        ground,
        "fits" if fitting else str(rows[0].verdict),
        blocks,
        plans=tuple(rows[:5]),
        follow_up=(f"fitserve compare {variants}",),
        rate=rate,
    )


def _variants(ground: Ground) -> list[tuple[str, dict[str, Any], Gpus | None]]:
    asked = ground.asked
    if len(asked.models) >= 2:
        return [(model.split("/")[-1], {"model": model}, None) for model in asked.models]
    if len(ground.gpus) >= 2:
        model = {} if asked.models else {"model": _MODEL}
        return [(f"{item.count} x {item.gpu}", model, (item,)) for item in ground.gpus]
    if len(asked.engines) >= 2:
        model = {} if asked.models else {"model": _MODEL}
        return [(name, {"engine": (name,), **model}, ground.gpus or (_CARD,)) for name in asked.engines]
    model = {} if asked.models else {"model": _MODEL}
    names = [usual_format(name) if is_generic(name) else name for name in asked.formats]
    return [(name, {"format": name, **model}, ground.gpus or (_CARD,)) for name in dict.fromkeys(names)]


def _winner(fitting: list[tuple[Evaluated, str]], titles: list[str]) -> Reason:
    if not fitting:
        return note("ask_compare_none", names=tuple(titles))
    if len(fitting) == 1:
        return note("ask_compare_only", name=fitting[0][1])
    fastest = min(fitting, key=lambda pair: _speed_key(pair[0]))
    best = min(
        fitting,
        key=lambda pair: (
            max(1, quality_class(pair[0].deployment.model, pair[0].deployment.weight_format)),
            _speed_key(pair[0]),
        ),
    )
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
        found.append(
            note(
                "ask_compare_row",
                name=title,
                rate=rate,
                used_bytes=used_bytes(item),
                longest_tokens=item.budget.kv.max_context_tokens,
            )
        )
    return found


def _written(item: Evaluated) -> str:
    """A variant as `fitserve compare` takes it."""
    d = item.deployment
    gpus = ",".join(f"{gpu}:{count}" for gpu, count in d.machine.counts) or "none"
    return f"'{d.model.id} format={d.weight_format.name} engine={d.engine} gpu={gpus}'"
