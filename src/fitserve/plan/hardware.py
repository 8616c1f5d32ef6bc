"""Which GPUs, and how many of each, carry a model for so many users."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.plan.answer import cost_of
from fitserve.plan.fields import Count
from fitserve.plan.machine import machine_of, parse_gpu
from fitserve.plan.request import PlanRequest
from fitserve.plan.resolve import resolve_plan
from fitserve.plan.world import World
from fitserve.predict.prices import DOLLAR, Rate, list_prices, priced_gpus
from fitserve.search.carry import best_that_carries
from fitserve.search.evaluate import Evaluated, Evaluator
from fitserve.search.speeds import load_of
from fitserve.search.users import users_within

_COUNTS = (1, 2, 4, 8)


class HardwareChoiceRequest(PlanRequest):
    """A model and the people it serves; `gpu` narrows the GPUs that are tried."""

    most_gpus: Count = _COUNTS[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One kind of GPU: the fewest that carry the load, their plan, rent an hour and list price together (None: unknown)."""

    gpu: str
    count: int
    item: Evaluated
    users: int | None
    usd_per_hour: Decimal | None
    list_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareChoices:
    """Choices, the cheapest first; `without`: GPUs of which even the most allowed do not carry it."""

    request: HardwareChoiceRequest
    choices: tuple[Choice, ...]
    without: tuple[str, ...]
    notes: tuple[Reason, ...]
    rate: Rate = DOLLAR

    @property
    def is_yes(self) -> bool:
        """Whether anything carries the load."""
        return bool(self.choices)


def which_hardware(request: HardwareChoiceRequest, world: World) -> HardwareChoices:
    """The fewest of each kind of GPU that serve everybody at once within the targets. Raises InputError, FactMissing."""
    gpus, request = _kinds(request, world)
    read = world.read_model(request.model)
    once = replace(world, read_model=lambda _: read)  # one reading for all machines
    _, resolved = resolve_plan(_on(request, gpus[0], 1), once)
    choices: list[Choice] = []
    without: list[str] = []
    for gpu in gpus:
        choice = next(_carrying(gpu, request, once), None)
        if choice is None:
            without.append(gpu)
        else:
            choices.append(choice)
    choices.sort(key=_cheapest)
    load = load_of(resolved.workload)
    about = note(
        "hardware_for", requests=load.concurrent_requests or 1, prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens, context_tokens=resolved.workload.context_tokens,
    )  # fmt: skip
    return HardwareChoices(
        request=request,
        choices=tuple(choices),
        without=tuple(without),
        notes=(*resolved.notes, about),
        rate=resolved.rate,
    )


def _kinds(request: HardwareChoiceRequest, world: World) -> tuple[tuple[str, ...], HardwareChoiceRequest]:
    """The GPUs to try: those of the request, or of its report file, whose host then counts as well; else all with a price."""
    if request.hardware is None:
        named = tuple(dict.fromkeys(identify(parse_gpu(text)[0]).device.id for text in request.gpu))
        return named or priced_gpus(), request
    machine, _ = machine_of(request, world)
    known = tuple(dict.fromkeys(item.id for item in machine.devices if item.id in gpu_rows()))
    if not known:
        raise InputError.of("hardware_file_without_gpu", given=request.hardware)
    host = {"ram": machine.host.ram_bytes, "os": machine.host.os, "hardware": None}
    return known, request.model_copy(update=host)


def _on(request: HardwareChoiceRequest, gpu: str, count: int) -> PlanRequest:
    """The request on some GPUs."""
    return PlanRequest(**request.given("most_gpus", "gpu", "hardware"), gpu=(f"{gpu}:{count}",))


def _carrying(gpu: str, request: HardwareChoiceRequest, world: World) -> Iterator[Choice]:
    """Plans on ever more of a GPU."""
    for count in (size for size in _COUNTS if size <= request.most_gpus):
        read, resolved = resolve_plan(_on(request, gpu, count), world)
        item = best_that_carries(read.model, resolved.machine, resolved.workload, resolved.wishes, Evaluator())
        if item is None:
            continue
        rent, listed = cost_of(item, resolved.rate), list_prices().get(gpu)
        yield Choice(
            gpu=gpu, count=count, item=item,
            users=users_within(item, load_of(resolved.workload), resolved.wishes.targets),
            usd_per_hour=None if rent is None else rent.usd_per_hour,
            list_usd=None if listed is None else listed.usd * count,
        )  # fmt: skip


def _cheapest(choice: Choice) -> tuple[bool, Decimal, bool, Decimal, int]:
    """By rent where there is one, then by list price, then by number."""
    rent, listed = choice.usd_per_hour, choice.list_usd
    return rent is None, rent or Decimal(0), listed is None, listed or Decimal(0), choice.count
