"""The use case of `cost`: request -> what it costs. A price that nobody stated is asked for, never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fitserve.foundation.errors import InputError, Problem
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, note, warning
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.plan.cost_request import CostRequest
from fitserve.plan.machine import parse_gpu
from fitserve.plan.money import rate_of
from fitserve.predict.cost import (
    HOURS_PER_MONTH,
    AgainstApi,
    HourlyPrice,
    HoursCost,
    Ownership,
    RentAgainstOwn,
    against_api,
    cost_of_hours,
    hourly_price,
    rent_against_own,
    usd_per_million_tokens,
)
from fitserve.predict.prices import DOLLAR, PriceList, Rate, age_days, list_prices, packaged_prices, read_prices

USUAL_HOURS = (Decimal(1), Decimal(24), HOURS_PER_MONTH)
"""An hour, a day, a month."""
_OLD_DAYS = 90
"""From this age on the age of a price is a warning: prices of one provider moved 14 % within a month (prices.json)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAnswer:
    """What it costs. `kind` says where `usd_per_hour` is from: given, offers or own. Nothing is rounded."""

    request: CostRequest
    counts: tuple[tuple[str, int], ...]
    kind: str
    usd_per_hour: Decimal
    hourly: HourlyPrice | None
    rate: Rate
    rows: tuple[HoursCost, ...]
    usd_per_million_output_tokens: Interval | None
    usd_per_million_input_tokens: Interval | None
    own: Ownership | None
    hours_per_month: Decimal
    against_own: RentAgainstOwn | None
    api: AgainstApi | None
    notes: tuple[Reason, ...]
    today: str


def cost(request: CostRequest, today: str, own_prices: Any = None) -> CostAnswer:
    """The answer to a request. `own_prices`: the content of the user's price file; `today`: YYYY-MM-DD.

    Raises InputError with everything that is wrong or missing.
    """
    where = request.prices or "prices"
    own_list = None if own_prices is None else read_prices(own_prices, where)
    problems: list[Problem] = []
    notes: list[Reason] = []
    counts = _counts(request.gpu, notes, problems)
    rate = _rate(request, own_list, problems)
    own = _own(request, counts, notes, problems)
    _check_api(request, problems)
    hourly = _hourly(request, counts, own_list, own, notes, problems)
    if problems:
        raise InputError(*problems)
    hours_per_month = request.hours_per_month or HOURS_PER_MONTH
    kind, usd_per_hour = _per_hour(request, hourly, own, hours_per_month)
    # own hardware has the price of an hour only at these hours a month
    usual = (*USUAL_HOURS[:-1], hours_per_month) if kind == "own" else USUAL_HOURS
    rented = usd_per_hour if kind != "own" else None
    return CostAnswer(
        request=request, counts=counts, kind=kind, usd_per_hour=usd_per_hour, hourly=hourly, rate=rate,
        rows=tuple(cost_of_hours(usd_per_hour, hours, rate) for hours in request.hours or usual),
        usd_per_million_output_tokens=_tokens(usd_per_hour, request.output_tok_per_s, request),
        usd_per_million_input_tokens=_tokens(usd_per_hour, request.input_tok_per_s, request),
        own=own, hours_per_month=hours_per_month,
        against_own=None if own is None or rented is None else rent_against_own(rented, own),
        api=_api(request, usd_per_hour), notes=(*notes, *_dated(hourly, today)), today=today,
    )  # fmt: skip


def _per_hour(
    request: CostRequest, hourly: HourlyPrice | None, own: Ownership | None, hours_per_month: Decimal
) -> tuple[str, Decimal]:
    if request.usd_per_hour is not None:
        return "given", request.usd_per_hour
    if hourly is not None:
        return "offers", hourly.median.usd_per_hour
    if own is not None:
        return "own", own.usd_per_hour(hours_per_month)
    raise InputError.of("cost_without_price")


def _counts(gpus: Sequence[str], notes: list[Reason], problems: list[Problem]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for text in gpus:
        try:
            name, count = parse_gpu(text)
            found = identify(name)
        except InputError as error:
            problems += error.problems
            continue
        counts[found.device.id] = counts.get(found.device.id, 0) + count
        if found.assumed is not None:
            notes.append(note("gpu_assumed", given=name, gpu=found.assumed))
    return tuple(counts.items())


def _hourly(
    request: CostRequest, counts: Sequence[tuple[str, int]], own_list: PriceList | None, own: Ownership | None,
    notes: list[Reason], problems: list[Problem],
) -> HourlyPrice | None:  # fmt: skip
    """Quotes for the GPUs; a GPU without price is a problem unless another price was given."""
    if not counts:
        return None
    prices = _joined(own_list, counts, request, notes)
    found = hourly_price(counts, prices, request.tier, request.provider)
    if found is not None:
        if any(count > 1 for _, count in counts) and request.usd_per_hour is None:
            notes.append(note("offers_one_machine", count=sum(count for _, count in counts)))
        return found
    gpus = tuple(gpu for gpu, _ in counts if not prices.of(gpu, request.tier, request.provider))
    if request.usd_per_hour is not None:
        return None
    if own is not None:
        notes.append(note("gpu_price_missing", gpu=gpus))
        return None
    asked = " ".join(f"--{name} {given}" for name, given in _asked(request) if given)
    if asked and all(prices.of(gpu) or prices.of(gpu, "spot") for gpu in gpus):
        offers = (*(o for gpu in gpus for o in prices.of(gpu)), *(o for gpu in gpus for o in prices.of(gpu, "spot")))
        known = tuple(dict.fromkeys(f"{offer.provider} ({offer.tier})" for offer in offers))
        problems += InputError.of("offer_unknown", asked=asked, gpu=gpus, known=known).problems
    else:
        problems += InputError.of("gpu_price_unknown", gpu=gpus, known=prices.gpus).problems
    return None


def _asked(request: CostRequest) -> tuple[tuple[str, str | None], ...]:
    return ("tier", request.tier), ("provider", request.provider)


def _joined(
    own_list: PriceList | None, counts: Sequence[tuple[str, int]], request: CostRequest, notes: list[Reason]
) -> PriceList:
    """The user's prices; for GPUs that have none there, the list of the package."""
    if own_list is None:
        return packaged_prices()
    missing = tuple(gpu for gpu, _ in counts if gpu not in own_list.gpus)
    if missing and own_list.offers:
        notes.append(note("prices_of_package", gpu=missing, where=str(request.prices)))
    rest = tuple(offer for offer in packaged_prices().offers if offer.gpu not in own_list.gpus)
    return PriceList(offers=(*own_list.offers, *rest), rates=own_list.rates, is_own=True)


def _rate(request: CostRequest, own_list: PriceList | None, problems: list[Problem]) -> Rate:
    try:
        return rate_of(request.currency, request.exchange_rate, own_list.rates if own_list else ())
    except InputError as error:
        problems += error.problems
        return DOLLAR


_OWN_FLAGS = ("hardware_usd", "years", "usd_per_kwh", "watts", "hours_per_month")


def _own(
    request: CostRequest, counts: Sequence[tuple[str, int]], notes: list[Reason], problems: list[Problem]
) -> Ownership | None:
    """Own hardware, when any flag speaks of it. Its price and power may come from the catalogue, with a note."""
    if all(getattr(request, name) is None for name in _OWN_FLAGS):
        return None
    if request.hours_per_month is not None and request.hours_per_month > HOURS_PER_MONTH:
        problems += InputError.of("hours_per_month_wrong", given=str(request.hours_per_month)).problems
    values: dict[str, Decimal | None] = {
        "hardware_usd": request.hardware_usd or _listed_usd(counts, notes),
        "years": request.years,
        "usd_per_kwh": request.usd_per_kwh,
        "watts": request.watts or _limit_watts(counts, notes),
    }
    known = {name: value for name, value in values.items() if value is not None}
    for name in values:
        if name not in known:
            problems += InputError.of("flag_missing", flag="--" + name.replace("_", "-")).problems
    if len(known) < len(values):
        return None
    return Ownership(**known, load=request.load, pue=request.pue)


def _listed_usd(counts: Sequence[tuple[str, int]], notes: list[Reason]) -> Decimal | None:
    """List prices of all GPUs; None when one has none."""
    listed = list_prices()
    if not counts or any(gpu not in listed for gpu, _ in counts):
        return None
    for gpu, _ in counts:
        row = listed[gpu]
        parameters: dict[str, Any] = {"gpu": gpu, "usd": int(row.usd), "year": str(row.year), "ref": row.ref}
        notes.append(
            warning("hardware_price_estimated", **parameters)
            if row.is_estimate
            else warning("hardware_price_listed", **parameters)
        )
    return sum((listed[gpu].usd * count for gpu, count in counts), Decimal(0))


def _limit_watts(counts: Sequence[tuple[str, int]], notes: list[Reason]) -> Decimal | None:
    """Power limits of all boards; None when one is not known."""
    powers = [(count, gpu_rows()[gpu]["tdp_w"], gpu_rows()[gpu]["devices_per_board"] or 1) for gpu, count in counts]
    if not powers or any(watts is None for _, watts, _ in powers):
        return None
    total = sum((Decimal(watts) * count / devices for count, watts, devices in powers), Decimal(0))
    notes.append(note("power_at_tdp", watts=float(total)))
    return total


def _tokens(usd_per_hour: Decimal, tok_per_s: Interval | None, request: CostRequest) -> Interval | None:
    return None if tok_per_s is None else usd_per_million_tokens(usd_per_hour, tok_per_s, request.utilization)


def _check_api(request: CostRequest, problems: list[Problem]) -> None:
    """Input tokens of an API count in by the tokens of a request."""
    needed = []
    if request.api_usd_per_million_input is not None:
        needed = ["api_usd_per_million", "prompt_tokens", "output_tokens"]
    for name in needed:
        if getattr(request, name) is None:
            problems += InputError.of("flag_missing", flag="--" + name.replace("_", "-")).problems


def _api(request: CostRequest, usd_per_hour: Decimal) -> AgainstApi | None:
    if request.api_usd_per_million is None:
        return None
    ratio = Decimal(request.prompt_tokens or 0) / Decimal(request.output_tokens or 1)
    return against_api(
        usd_per_hour,
        request.output_tok_per_s,
        request.api_usd_per_million,
        request.api_usd_per_million_input or Decimal(0),
        ratio,
    )


def _dated(hourly: HourlyPrice | None, today: str) -> list[Reason]:
    """How old the prices are and where they are from; no price is shown without it."""
    if hourly is None:
        return []
    offers = [offer for quote in hourly.quotes for offer in quote.offers]
    dates = sorted({offer.price_date for offer in offers if offer.price_date is not None})
    notes = [] if all(offer.price_date for offer in offers) else [warning("prices_undated")]
    if dates:
        age = age_days(dates[0], today) or 0
        given: dict[str, Any] = {
            "oldest": dates[0],
            "newest": dates[-1] if dates[-1] != dates[0] else None,
            "age": age,
            "sources": tuple(dict.fromkeys(offer.source for offer in offers if offer.source is not None)),
            "transcribed_by": tuple(dict.fromkeys(o.transcribed_by for o in offers if o.transcribed_by is not None)),
        }
        notes.append(warning("prices_dated", **given) if age > _OLD_DAYS else note("prices_dated", **given))
    return notes
