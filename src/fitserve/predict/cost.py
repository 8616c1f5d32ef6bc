"""What serving costs: rent of GPUs, tokens at a throughput, owned hardware, and these against each other.

Money is Decimal and is rounded only where it is shown; figures per token are intervals, as wide as the throughput's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from fitserve.foundation.intervals import Interval
from fitserve.hardware.types import Machine
from fitserve.predict.prices import DOLLAR, Offer, PriceList, Rate, packaged_prices

HOURS_PER_MONTH = Decimal(8766) / 12
"""365.25 days of 24 hours, divided by 12."""
_MILLION = Decimal(10**6)
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What some GPUs cost an hour at one provider; `offers` are the parts, one for each kind of GPU."""

    usd_per_hour: Decimal
    offers: tuple[Offer, ...]

    @property
    def provider(self) -> str:
        """The provider, or all of them for GPUs that no single one has."""
        return " + ".join(dict.fromkeys(offer.provider for offer in self.offers))

    @property
    def price_date(self) -> str | None:
        """Date of the oldest price in it; None when one has no date."""
        dates = [offer.price_date for offer in self.offers]
        return None if None in dates else min(date for date in dates if date is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyPrice:
    """Quotes for some GPUs, the cheapest first."""

    quotes: tuple[Quote, ...]

    @property
    def cheapest(self) -> Quote:
        """The lowest price."""
        return self.quotes[0]

    @property
    def highest(self) -> Quote:
        """The highest price."""
        return self.quotes[-1]

    @property
    def median(self) -> Quote:
        """The quote in the middle, the lower one of two: a price that somebody asks, so that it has a date."""
        return self.quotes[(len(self.quotes) - 1) // 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursCost:
    """Cost of some hours in USD and in a currency; neither is rounded."""

    hours: Decimal
    usd: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Own hardware. `watts` is drawn under load, `load` the share of it while in use, `pue` what cooling adds (a factor)."""

    hardware_usd: Decimal
    years: Decimal
    watts: Decimal
    usd_per_kwh: Decimal
    load: Decimal = Decimal(1)
    pue: Decimal = Decimal(1)

    @property
    def energy_usd_per_hour(self) -> Decimal:
        """Electricity of an hour of use."""
        return self.watts / 1000 * self.load * self.pue * self.usd_per_kwh

    @property
    def hardware_usd_per_month(self) -> Decimal:
        """The purchase, spread over its years."""
        return self.hardware_usd / (self.years * 12)

    def usd_per_hour(self, hours_per_month: Decimal = HOURS_PER_MONTH) -> Decimal:
        """Cost of an hour of use when it is used so many hours a month; switched off it draws nothing."""
        return self.hardware_usd_per_month / hours_per_month + self.energy_usd_per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class RentAgainstOwn:
    """From how many hours a month on owning is cheaper, and after how many hours the purchase is paid back.

    None: never, because renting costs less than the electricity, or the hours exceed those of a month.
    """

    break_even_hours_per_month: Decimal | None
    payback_hours: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstApi:
    """Own serving against an API. `usd_per_million_output_tokens`: what the API asks, its input tokens counted in.

    `break_even_output_tok_per_hour`: so many must be made an hour for both to cost the same. `break_even_utilization`:
    the share of time that the server must be busy for that; above 1 the API stays cheaper.
    """

    usd_per_million_output_tokens: Decimal
    break_even_output_tok_per_hour: Decimal
    break_even_utilization: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCost:
    """Cost of a deployment: the median quote, the range, and a million tokens at its throughput."""

    hourly: HourlyPrice
    rate: Rate
    utilization: Decimal
    usd_per_million_output_tokens: Interval | None
    usd_per_million_input_tokens: Interval | None

    @property
    def usd_per_hour(self) -> Decimal:
        """The median quote."""
        return self.hourly.median.usd_per_hour


def hourly_price(
    counts: Sequence[tuple[str, int]], prices: PriceList, tier: str | None = None, provider: str | None = None
) -> HourlyPrice | None:
    """What (GPU id, count) pairs cost an hour, by provider; None when a GPU has no price or there is no GPU.

    GPUs that no single provider has are quoted from the cheapest offer of each. Of several offers of a provider the
    one counts that is cheapest for the count.
    """
    by_gpu = [(count, prices.of(gpu, tier, provider)) for gpu, count in counts]
    if not by_gpu or any(not offers for _, offers in by_gpu):
        return None
    quotes = []
    for name in dict.fromkeys(_seller(offer) for _, offers in by_gpu for offer in offers):
        sold = [(count, [offer for offer in offers if _seller(offer) == name]) for count, offers in by_gpu]
        if all(offers for _, offers in sold):
            quotes.append(_cheapest(sold))
    if not quotes:
        quotes = [_cheapest(by_gpu)]
    return HourlyPrice(quotes=tuple(sorted(quotes, key=lambda quote: (quote.usd_per_hour, quote.provider))))


def _seller(offer: Offer) -> tuple[str, str | None, str]:
    return offer.provider, offer.region, offer.tier


def _cheapest(sold: Sequence[tuple[int, Sequence[Offer]]]) -> Quote:
    chosen = [
        (count, min(offers, key=lambda offer, count=count: offer.usd_per_hour(count)))  # type: ignore[misc]
        for count, offers in sold
    ]
    total = sum((offer.usd_per_hour(count) for count, offer in chosen), Decimal(0))
    return Quote(usd_per_hour=total, offers=tuple(offer for _, offer in chosen))


def cost_of_hours(usd_per_hour: Decimal, hours: Decimal, rate: Rate = DOLLAR) -> HoursCost:
    """Cost of some hours; the amount in the currency comes from the unrounded dollars."""
    usd = usd_per_hour * hours
    return HoursCost(hours=hours, usd=usd, amount=rate.of(usd))


def usd_per_million_tokens(usd_per_hour: Decimal, tok_per_s: Interval, utilization: Decimal = Decimal(1)) -> Interval:
    """USD per million tokens at a throughput that is reached for the share `utilization` of the time paid for.

    The fastest case is the cheapest. An end of the interval without tokens costs infinitely much.
    """
    per_token = float(usd_per_hour * _MILLION / (_SECONDS_PER_HOUR * utilization))

    def at(rate_tok_per_s: float) -> float:
        return per_token / rate_tok_per_s if rate_tok_per_s > 0 else float("inf")

    return Interval(at(tok_per_s.high), at(tok_per_s.likely), at(tok_per_s.low))


def in_currency(usd: Interval, rate: Rate) -> Interval:
    """An interval of dollars in a currency."""
    factor = float(rate.per_usd)
    return Interval(usd.low * factor, usd.likely * factor, usd.high * factor)


def rent_against_own(rent_usd_per_hour: Decimal, own: Ownership) -> RentAgainstOwn:
    """Where renting by the hour and owning cost the same."""
    saved = rent_usd_per_hour - own.energy_usd_per_hour
    if saved <= 0:
        return RentAgainstOwn(break_even_hours_per_month=None, payback_hours=None)
    hours = own.hardware_usd_per_month / saved
    return RentAgainstOwn(
        break_even_hours_per_month=hours if hours <= HOURS_PER_MONTH else None, payback_hours=own.hardware_usd / saved
    )


def against_api(
    usd_per_hour: Decimal,
    output_tok_per_s: Interval | None,
    api_usd_per_million_output: Decimal,
    api_usd_per_million_input: Decimal = Decimal(0),
    prompt_per_output_token: Decimal = Decimal(0),
) -> AgainstApi:
    """Own serving against an API that charges a million output and input tokens so much."""
    asked = api_usd_per_million_output + api_usd_per_million_input * prompt_per_output_token
    tokens = usd_per_hour / asked * _MILLION
    busy = None
    if output_tok_per_s is not None:
        own = usd_per_million_tokens(usd_per_hour, output_tok_per_s)
        busy = Interval(own.low / float(asked), own.likely / float(asked), own.high / float(asked))
    return AgainstApi(
        usd_per_million_output_tokens=asked, break_even_output_tok_per_hour=tokens, break_even_utilization=busy
    )


def plan_cost(
    machine: Machine,
    throughput: Interval | None,
    currency: str = "USD",
    rate: Rate | None = None,
    *,
    prefill_tok_per_s: Interval | None = None,
    utilization: Decimal = Decimal(1),
    device_count: int | None = None,
    prices: PriceList | None = None,
) -> PlanCost | None:
    """Cost of the first `device_count` devices of a machine, and of tokens at `throughput` (output tokens per second).

    None when a GPU has no price, or there is none. Without a rate for `currency` the figures are in USD: a rate is
    never guessed.
    """
    devices = machine.devices if device_count is None else machine.devices[:device_count]
    used = Machine(devices=devices, host=machine.host)
    hourly = hourly_price(used.counts, prices or packaged_prices())
    if hourly is None:
        return None
    usd_per_hour = hourly.median.usd_per_hour
    known = rate if rate is not None and rate.currency == currency else DOLLAR

    def per_million(tok_per_s: Interval | None) -> Interval | None:
        return None if tok_per_s is None else usd_per_million_tokens(usd_per_hour, tok_per_s, utilization)

    return PlanCost(
        hourly=hourly,
        rate=known,
        utilization=utilization,
        usd_per_million_output_tokens=per_million(throughput),
        usd_per_million_input_tokens=per_million(prefill_tok_per_s),
    )
