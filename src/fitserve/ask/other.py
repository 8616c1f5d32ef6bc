"""Answers about money, fine-tuning, making weights, failures; and the question back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from fitserve.ask.ground import Ground, flags, one_per_format, planned, sensible
from fitserve.ask.making import making_of, usual_format
from fitserve.ask.parts import (
    answered,
    command_blocks,
    follow_up,
    instead_blocks,
    plan_blocks,
    since,
    verdict_blocks,
)
from fitserve.ask.running import memory_needed
from fitserve.ask.training import METHODS, planned_methods, training_answer
from fitserve.ask.types import AskAnswer, Block, Bullets, Costs, Grid, Heading, Named, PlanTable, Say
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, Source, note
from fitserve.hardware.identify import device
from fitserve.models.formats import parse_format
from fitserve.models.names import resolve_name
from fitserve.plan.cost import cost as cost_of_request
from fitserve.plan.cost_request import CostRequest
from fitserve.search.evaluate import Evaluated

_BUSY = 16
"""Requests at once of a server whose tokens are priced, where nobody says: one alone makes every token dear."""
_LARGE = (Named(gpu="h200-sxm-141gb", count=8),)
_ARCHITECTURE = re.compile(r"(?:KeyError|architecture)\W{1,4}'?([\w\-]+)", re.IGNORECASE)
FromLog = Callable[[str, Mapping[str, Any]], tuple[Reason, ...]]
"""Reads a quoted message with what is known of the machine: sentences of cause and fix, the likeliest first."""


def cost(ground: Ground, today: str) -> AskAnswer:
    """What hours and tokens cost."""
    asked = ground.asked
    blocks: list[Block] = []
    chosen: Evaluated | None = None
    if asked.models and ground.gpus:
        answer, _ = planned(ground, concurrency=asked.concurrency or _BUSY)
        good = sensible(answer.plans) or answer.plans
        chosen = good[0] if good else None
    fields: dict[str, Any] = {
        "usd_per_hour": asked.usd_per_hour, "hours": asked.hours,
        "exchange_rate": (asked.exchange_rate,) if asked.exchange_rate else (),
        "gpu": tuple(f"{item.gpu}:{item.count}" for item in ground.gpus if item.gpu != "none"),
        "currency": asked.currency if asked.exchange_rate else None,
    }  # fmt: skip
    if chosen is not None and chosen.speed is not None:
        rate = chosen.speed.output_tok_per_s
        fields["output_tok_per_s"] = f"{rate.low:.6g}:{rate.likely:.6g}:{rate.high:.6g}"
    notes = (note("ask_rate_missing"),) if asked.currency and not asked.exchange_rate else ()
    if chosen is not None and asked.concurrency is None:
        notes = (*notes, note("ask_busy_assumed", users=_BUSY))
    if not fields["gpu"] and fields["usd_per_hour"] is None:
        if asked.models:
            return _cost_of_model(ground, today)
        return answered(ground, None, [Say(note("ask_which_price"), strong=True)], notes=notes)
    try:
        found = cost_of_request(CostRequest.read(**fields), today)
    except InputError:
        gpus = tuple(item.gpu for item in ground.gpus)
        return answered(
            ground, "unknown", [Say(note("ask_price_unknown", gpus=gpus), strong=True), *_owned(ground)], notes=notes
        )
    blocks += [Costs(found)]
    if chosen is not None:
        blocks += [Heading("ask_plans"), PlanTable((chosen,), rate=found.rate)]
    power = [*_owned(ground)]
    words = [f"--gpu {text}" for text in fields["gpu"]] + (
        [f"--usd-per-hour {asked.usd_per_hour}"] if asked.usd_per_hour else []
    )
    words += [f"--hours {format(hours, 'f')}" for hours in asked.hours]
    words += [f"--currency KRW --exchange-rate {asked.exchange_rate}"] if asked.exchange_rate else []
    follow = (
        f"fitserve cost {' '.join(words)}",
        f"fitserve cost {' '.join(words)} --hardware-usd 2000 --years 3 --usd-per-kwh 0.15",
    )
    plans = () if chosen is None else (chosen,)
    return answered(ground, None, [*blocks, *power], plans=plans, notes=(*notes, *found.notes), follow_up=follow)


def _cost_of_model(ground: Ground, today: str) -> AskAnswer:
    """A model without hardware: the cheapest cards that carry it."""
    from fitserve.ask.offers import buy  # the answer to what one would rent

    return buy(ground)


def _owned(ground: Ground) -> list[Block]:
    """Electricity of the cards at their power limit, for the hours of a month."""
    from fitserve.hardware.identify import gpu_rows

    found: list[Reason] = []
    for item in ground.gpus:
        row = gpu_rows().get(item.gpu)
        watts = None if row is None else row["tdp_w"]
        if watts:
            per_card = Decimal(watts) / (row["devices_per_board"] or 1) if row else Decimal(0)
            kwh = per_card * item.count * 24 * 30 / 1000
            found.append(
                note(
                    "ask_power",
                    count=item.count,
                    gpu=item.gpu,
                    watts=f"{per_card * item.count:,.0f}",
                    kwh=f"{kwh:,.0f}",
                )
            )
    return [Bullets(tuple(found))] if found else []


def finetune(ground: Ground) -> AskAnswer:
    """The least that fine-tuning takes: weights and what each trained parameter carries, by method."""
    asked = ground.asked
    if not asked.models:
        return answered(ground, None, [Say(note("ask_which_model"), strong=True)])
    model = ground.world.read_model(ground.model).model
    rules = load_toml("fitserve.ask", "training.toml")
    cards = [item for item in ground.gpus if item.gpu != "none"]
    if ground.asked.are_alternatives:  # the larger of the machines that are to be chosen among
        cards = [max(cards, key=lambda item: device(item.gpu).memory_bytes * item.count)]
    if cards and not any(item.memory_bytes for item in cards):
        named = tuple(f"{item.gpu}:{item.count}" for item in cards)
        if (plans := planned_methods(ground, named)) is not None:
            return training_answer(ground, plans, named)
    have = sum((item.memory_bytes or device(item.gpu).memory_bytes) * item.count for item in cards)
    room = have * rules["room"]["share"]
    needs = {name: int(model.params() * row["bytes_per_parameter"]) for name, row in rules["methods"].items()}
    method = asked.method or _largest(needs, have)
    verdict, blocks = _trained(model.id, method, needs[method], have, room)
    judged = {
        name: f"verdict:{'fits' if value < room else 'does_not_fit'}" if have else "–" for name, value in needs.items()
    }
    rows = tuple((METHODS[name], ("bytes", value), judged[name]) for name, value in needs.items())
    blocks += [Heading("ask_finetune_table"), Grid(("ask_method", ">ask_least", "verdict"), rows)]
    blocks.append(Say(note("ask_finetune_floor", Source(**rules["source"]))))
    if verdict == "does_not_fit":
        smaller = tuple(METHODS[name] for name, value in needs.items() if value < room)
        blocks.append(Say(note("ask_finetune_instead", methods=smaller) if smaller else note("ask_finetune_never")))
    more = (f"fitserve cost {flags(ground, None)} --hours 10 --hours 50 --hours 100",) if cards else ()
    return answered(ground, verdict, blocks, follow_up=more)


def _trained(
    model: str, method: str, need_bytes: int, have_bytes: int, room_bytes: float
) -> tuple[str | None, list[Block]]:
    """(verdict, first sentence) for a method; no verdict without hardware."""
    name = METHODS[method]
    if not have_bytes:
        return None, [Say(note("ask_finetune_needs", method=name, model=model, need_bytes=need_bytes), strong=True)]
    verdict = "fits" if need_bytes < room_bytes else "does_not_fit"
    code = "ask_finetune_fits" if verdict == "fits" else "ask_finetune_no"
    return verdict, [
        Say(note(code, method=name, model=model, need_bytes=need_bytes, have_bytes=have_bytes), strong=True)
    ]


def _largest(needs: Mapping[str, int], have: int) -> str:
    fitting = [name for name in ("lora", "qlora") if have and needs[name] < have]
    return fitting[0] if fitting else "qlora"


def quantize(ground: Ground) -> AskAnswer:
    """How the weights are made, how large they become, and where they run."""
    asked = ground.asked
    if not asked.models:
        return answered(ground, None, [Say(note("ask_which_model"), strong=True)])
    name = usual_format(asked.formats[0]) if asked.formats else "gguf:Q4_K_M"
    model = ground.world.read_model(ground.model).model
    made = making_of(model.id, name)
    blocks: list[Block] = []
    narrowed = replace(ground, asked=replace(asked, formats=(name,)))
    if made is None:
        blocks.append(Say(note("ask_make_unknown", format=parse_format(name).name), strong=True))
    else:
        blocks += [Say(note("ask_make_how", format=parse_format(name).name, model=model.id), strong=True), *made]
    original = int(model.params() * 2)
    blocks.append(Bullets((note("ask_make_disk", need_bytes=original),)))
    if ground.gpus:
        answer, _ = planned(narrowed)
        verdict, more, chosen = verdict_blocks(narrowed, answer)
        blocks += [Heading("ask_then_run"), *more, *plan_blocks(narrowed, answer, chosen)]
        return answered(
            ground,
            verdict,
            blocks,
            plans=answer.plans[:3] or answer.rejected[:2],
            notes=answer.notes,
            follow_up=follow_up(ground, chosen, ground.model),
        )
    needed = memory_needed(narrowed)
    return answered(
        ground, None, [*blocks, *needed.blocks], plans=needed.plans, follow_up=follow_up(ground, None, ground.model)
    )


def failure(ground: Ground, from_log: FromLog | None = None) -> AskAnswer:
    """The named error to its cause and fix; then whether the model could run there at all."""
    asked = ground.asked
    blocks: list[Block] = []
    known = {
        "gpu": tuple(item.gpu for item in ground.gpus),
        "engine": next(iter(asked.engines), None),
        "model": next(iter(asked.models), None),
    }
    told = from_log(asked.text, known) if from_log is not None else ()
    causes = told or _causes(asked.errors)
    if causes:
        blocks += [Say(causes[0], strong=True), *_known_since(ground), *([Bullets(causes[1:4])] if causes[1:] else [])]
    verdict: str | None = None
    answer = None
    chosen: Evaluated | None = None
    if asked.models and ground.gpus:
        answer, _ = planned(ground)
        verdict, more, chosen = verdict_blocks(ground, answer)
        blocks += [Heading("ask_could_it_run"), *more]
        if chosen is None:
            open_answer, _ = planned(replace(ground, asked=replace(asked, formats=(), engines=(), engine_version=None)))
            good = one_per_format(sensible(open_answer.plans), 4)
            blocks += (
                [Heading("ask_instead"), PlanTable(good), *command_blocks(ground, good[0])]
                if good
                else instead_blocks(answer)
            )
        blocks += plan_blocks(ground, answer, chosen)
    if not causes and not blocks:
        return answered(ground, None, [Say(note("ask_show_log"), strong=True)], follow_up=("fitserve diagnose LOG",))
    if not causes:
        blocks.append(Say(note("ask_show_log")))
    more_commands = (
        "fitserve diagnose LOG " + flags(ground, None),
        *follow_up(ground, chosen, next(iter(asked.models), None)),
    )
    plans = () if answer is None else (answer.plans[:3] or answer.rejected[:3])
    found = "does_not_fit" if verdict == "does_not_fit" else verdict
    return answered(
        ground,
        found,
        blocks,
        plans=plans,
        notes=() if answer is None else answer.notes,
        follow_up=tuple(text.strip() for text in more_commands),
    )


def _known_since(ground: Ground) -> list[Block]:
    """From which release on the engine knows the architecture that the message names."""
    match = _ARCHITECTURE.search(ground.asked.text)
    if match is None or not ground.asked.engines:
        return []
    try:
        model = resolve_name(match[1]).id
        probe = replace(ground, asked=replace(ground.asked, models=(model,), engine_version=None, formats=()))
        answer, _ = planned(probe, _LARGE)
    except FitserveError:
        return []
    item = next(iter(answer.plans), None)
    return [] if item is None else [Say(note("ask_known_by", name=match[1], model=model)), *since(item)]


def _causes(errors: tuple[str, ...]) -> tuple[Reason, ...]:
    """Cause and fix of each category that has a text of its own; a consequence stands behind its cause."""
    table = load_toml("fitserve.ask", "causes.toml")["causes"]
    codes = [table[name] for name in errors if name in table]
    codes = [code for code in codes if code != "worker"] + [code for code in codes if code == "worker"]
    return tuple(note(f"ask_cause_{code}") for code in dict.fromkeys(codes))


def unclear(ground: Ground) -> AskAnswer:
    """The question back: what is missing, with what is known already."""
    asked = ground.asked
    blocks: list[Block] = []
    if asked.models and not ground.gpus:
        blocks.append(Say(note("ask_missing_hardware", model=asked.models[0]), strong=True))
        shown = memory_needed(replace(ground, asked=replace(asked, formats=asked.formats)))
        blocks += [block for block in shown.blocks if isinstance(block, Heading | Grid)]
    elif ground.gpus and not asked.models:
        blocks.append(Say(note("ask_missing_model"), strong=True))
    else:
        blocks.append(Say(note("ask_missing_both"), strong=True))
    blocks.append(Bullets((note("ask_example_fit"), note("ask_example_quant"), note("ask_example_whatfits"))))
    return answered(ground, None, blocks)
