"""Answers that offer: models for hardware, and hardware for a model."""

from typing import Any

from fitserve.ask.ground import Ground, exact_format, flags
from fitserve.ask.parts import answered, command_blocks, said
from fitserve.ask.shortlist import shortlist
from fitserve.ask.types import AskAnswer, Block, Bullets, Grid, Heading, Memory, Numbers, PlanTable, Say
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import device
from fitserve.plan.answer import fit
from fitserve.plan.hardware import Choice, HardwareChoiceRequest, which_hardware
from fitserve.plan.request import FitRequest
from fitserve.predict.prices import Rate
from fitserve.search.evaluate import Evaluated

_ROWS = 12
_BUY = (
    "rtx-3060-12gb", "rtx-4060-ti-16gb", "rtx-3090", "rtx-4090", "rtx-5090", "rtx-a6000", "rtx-pro-6000-blackwell", "l40s",
    "a100-sxm-80gb", "h100-sxm-80gb", "h200-sxm-141gb", "b200-sxm-180gb",
)  # fmt: skip


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
    blocks += [
        Heading("ask_memory"),
        Memory(items[0]),
        Numbers(items[0], found.rate),
        *command_blocks(ground, items[0]),
    ]
    more = (f"fitserve fit {flags(ground, None)}", f"fitserve plan {flags(ground, items[0].deployment.model.id)}")
    return answered(ground, "fits", blocks, plans=items[:5], notes=found.notes, rate=found.rate, follow_up=more)


def _ram(ground: Ground) -> str | None:
    ram = ground.asked.ram_bytes or max((item.memory_bytes or 0 for item in ground.gpus), default=0)
    return f"{ram // GIB}GiB" if ram else None


def _memory(ground: Ground) -> int:
    """Bytes of the devices that are asked about; RAM without any."""
    total = sum(
        (item.memory_bytes or device(item.gpu).memory_bytes) * item.count for item in ground.gpus if item.gpu != "none"
    )
    if total:
        return total
    if ground.asked.ram_bytes:
        return ground.asked.ram_bytes
    machine = ground.world.this_machine()
    return sum(item.memory_bytes for item in machine.devices) or machine.host.ram_bytes or 16 * GIB


def buy(ground: Ground) -> AskAnswer:
    """GPUs that carry the model and its users, the cheapest to rent first, with list prices."""
    asked = ground.asked
    if not asked.models:
        return whatfits(ground) if ground.gpus else answered(ground, None, [Say(note("ask_which_model"), strong=True)])
    if ground.asked.are_alternatives:
        from fitserve.ask.comparing import compare  # the answer to which of them

        return compare(ground)
    fields: dict[str, Any] = {
        "model": ground.model, "gpu": tuple(item.gpu for item in ground.gpus if item.gpu != "none") or _BUY,
        "context": asked.context_tokens, "concurrency": asked.concurrency, "min_tok_per_s": asked.min_tok_per_s,
        "use": ground.use, "engine": asked.engines[:1], "format": exact_format(asked.formats),
    }  # fmt: skip
    try:
        found = which_hardware(HardwareChoiceRequest.read(**fields), ground.world)
    except FitserveError as error:
        if isinstance(error, InputError):
            raise
        return answered(ground, "unknown", [Say(note("ask_fits_nothing"), strong=True)])
    if not found.choices:
        return answered(
            ground, "does_not_fit", [Say(note("ask_buy_none", model=ground.model), strong=True)], notes=found.notes
        )
    return _bought(ground, found.choices, found.notes, found.rate, found.without)


def _bought(
    ground: Ground, choices: tuple[Choice, ...], notes: tuple[Reason, ...], rate: Rate, without: tuple[str, ...]
) -> AskAnswer:
    asked = ground.asked
    within = [
        c for c in choices if asked.budget_usd is None or (c.list_usd is not None and c.list_usd <= asked.budget_usd)
    ]
    blocks: list[Block] = []
    if asked.budget_usd is not None and not within:
        blocks.append(Say(note("ask_budget_none", usd=f"{asked.budget_usd:,.0f}", model=ground.model), strong=True))
    listed = [(c.list_usd, c) for c in (within or choices) if c.list_usd is not None]
    lowest = min(listed, key=lambda pair: pair[0], default=None)
    is_over = asked.budget_usd is not None and not within
    first = lowest[1] if is_over and lowest is not None else (within or choices)[0]
    fewest = min(within or choices, key=lambda c: (c.count, c.list_usd if c.list_usd is not None else 10**9))
    blocks.append(Say(note("ask_buy_first", count=first.count, gpu=first.gpu, **_one(first.item)), strong=not blocks))
    sentences = [note("ask_buy_fewest", count=fewest.count, gpu=fewest.gpu)]
    if lowest is not None:
        usd, cheapest = lowest
        sentences.append(note("ask_buy_cheapest", count=cheapest.count, gpu=cheapest.gpu, usd=f"{usd:,.0f}"))
    if without:
        sentences.append(note("ask_buy_without", gpus=without))
    blocks += [
        Bullets(tuple(sentences)),
        Heading("ask_choices"),
        Grid(
            (">count", "gpu", ">device_memory", "format", "engine", ">per_user", ">rent_hour", ">list_price"),
            _rows(choices),
        ),
    ]
    blocks += [Heading("ask_memory"), Memory(first.item), *command_blocks(ground, first.item)]
    users = f" --concurrency {asked.concurrency}" if asked.concurrency else ""
    more = (
        f"fitserve hardware {ground.model}{users}",
        f"fitserve plan {ground.model} --gpu {first.gpu}:{first.count}",
    )
    return answered(
        ground,
        "does_not_fit" if is_over else "fits",
        blocks,
        plans=tuple(c.item for c in choices[:5]),
        notes=notes,
        rate=rate,
        follow_up=more,
    )


def _rows(choices: tuple[Choice, ...]) -> tuple[tuple[str | tuple[str, float | int], ...], ...]:
    """A row a kind of GPU."""
    return tuple(
        (
            str(c.count), c.gpu, ("bytes", c.item.deployment.machine.devices[0].memory_bytes),
            c.item.deployment.weight_format.name, f"engine:{c.item.deployment.engine}",
            "–" if c.item.speed is None else ("rate", c.item.speed.per_user_tok_per_s.likely),
            "–" if c.usd_per_hour is None else f"${c.usd_per_hour:.2f}", "–" if c.list_usd is None else f"${c.list_usd:,.0f}",
        )
        for c in choices
    )  # fmt: skip


def _one(item: Evaluated) -> dict[str, Any]:
    names = said(item)
    return {key: names[key] for key in ("model", "engine", "format")}
