"""What more hardware would change: one GPU more, twice as many, and the next card, each with its best split."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from fitserve.engines.contract import Engine
from fitserve.engines.registry import engine
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.hardware.types import Accelerator, Machine
from fitserve.predict.types import Load
from fitserve.search.evaluate import Evaluated, Evaluator
from fitserve.search.rank import split_key
from fitserve.search.speeds import with_speed
from fitserve.search.users import users_within
from fitserve.workload.types import Targets

_FASTER = 1.15
"""A card whose memory is read so much faster is a step; less is the same card to a user."""
_TIMES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The same model, engine and format on other hardware; `users` within the targets, None where there are none."""

    kind: str
    gpu: str
    count: int
    item: Evaluated
    users: int | None


def outlook(
    base: Evaluated, load: Load, targets: Targets, use: str, sold: Iterable[str], evaluate: Evaluator
) -> tuple[Outlook, ...]:
    """More of the same GPU, and the next card among those that are `sold`; empty for machines without GPUs or of mixed ones."""
    devices = base.deployment.machine.devices
    if base.speed is None or not devices or len({device.id for device in devices}) > 1 or devices[0].is_unified:
        return ()
    have = len(devices)
    steps = [("devices", devices[0], count) for count in dict.fromkeys((have + 1, _TIMES * have))]
    found = []
    for kind, card, count in steps:
        item = _best(base, card, count, load, targets, use, evaluate)
        if item is not None:
            found.append(_step(kind, card, count, item, load, targets))
    for card in next_cards(devices[0], sold):
        item = _best(base, card, have, load, targets, use, evaluate)
        if item is not None:
            found.append(_step("card", card, have, item, load, targets))
            break
    return tuple(found)


def _step(kind: str, card: Accelerator, count: int, item: Evaluated, load: Load, targets: Targets) -> Outlook:
    return Outlook(kind=kind, gpu=card.id, count=count, item=item, users=users_within(item, load, targets))


def next_cards(card: Accelerator, sold: Iterable[str]) -> tuple[Accelerator, ...]:
    """Cards of the vendor with as much memory that read it faster by a step, the nearest first."""
    own = card.bandwidth_bytes_per_s
    if not own:
        return ()
    rows: Mapping[str, Mapping[str, object]] = gpu_rows()
    faster = [
        identify(gpu).device
        for gpu in sorted(set(sold))
        if gpu in rows and rows[gpu]["vendor"] == card.vendor and (rows[gpu].get("devices_per_board") or 1) == 1
    ]
    fitting = [
        device
        for device in faster
        if device.bandwidth_bytes_per_s
        and device.bandwidth_bytes_per_s >= _FASTER * own
        and device.memory_bytes >= card.memory_bytes
        and not device.is_unified
    ]
    return tuple(sorted(fitting, key=lambda device: (device.bandwidth_bytes_per_s or 0.0, device.memory_bytes)))


def _best(
    base: Evaluated, card: Accelerator, count: int, load: Load, targets: Targets, use: str, evaluate: Evaluator
) -> Evaluated | None:
    """The best split over all of so many cards; None where nothing starts or no speed is known."""
    deployment = base.deployment
    machine = Machine(devices=(card,) * count, host=deployment.machine.host)
    chosen: Engine = engine(deployment.engine)
    judged = [
        with_speed(evaluate(replace(deployment, machine=machine, tp=tp, pp=pp, dp=1, ep=1)), load, targets)
        for tp, pp in chosen.splits(deployment.model, machine, deployment.engine_version)
        if tp * pp == count
    ]
    fitting = [item for item in judged if item.fits and item.speed is not None]
    return min(fitting, key=partial(split_key, use=use), default=None)
