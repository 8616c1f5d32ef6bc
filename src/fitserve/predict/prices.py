"""What renting a GPU costs: dated offers with their source, of the package or of a user's own file."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.units import round_up
from fitserve.hardware.identify import identify

SPOT = "spot"
_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])")
_DATA = "fitserve.predict.data"
_MOST_GPUS_IN_OFFER = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one GPU costs an hour at one provider on `price_date`, when `gpus_in_offer` of them are rented together."""

    gpu: str
    provider: str
    usd_per_gpu_hour: Decimal
    tier: str = "on-demand"
    gpus_in_offer: int = 1
    region: str | None = None
    price_date: str | None = None
    source: str | None = None
    transcribed_by: str | None = None
    licence: str | None = None
    note: str | None = None

    def usd_per_hour(self, count: int) -> Decimal:
        """USD per hour for `count` GPUs: whole offers have to be rented."""
        return self.usd_per_gpu_hour * round_up(count, self.gpus_in_offer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one US dollar is worth in a currency, with its date and source where they were stated."""

    currency: str
    per_usd: Decimal
    date: str | None = None
    source: str | None = None

    def of(self, usd: Decimal) -> Decimal:
        """An amount in this currency, from the unrounded dollars; not rounded."""
        return usd * self.per_usd


DOLLAR = Rate(currency="USD", per_usd=Decimal(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Offers, and exchange rates where the file has some. `is_own`: a user's file, not the list of the package."""

    offers: tuple[Offer, ...]
    rates: tuple[Rate, ...] = ()
    is_own: bool = False

    @property
    def gpus(self) -> tuple[str, ...]:
        """Ids of the GPUs that have a price."""
        return tuple(sorted({offer.gpu for offer in self.offers}))

    def of(self, gpu: str, tier: str | None = None, provider: str | None = None) -> tuple[Offer, ...]:
        """Offers of a GPU: of a tier, without one all but spot; of a provider whose name contains `provider`."""
        return tuple(
            offer
            for offer in self.offers
            if offer.gpu == gpu
            and (offer.tier == tier if tier else offer.tier != SPOT)
            and (provider is None or provider.lower() in offer.provider.lower())
        )


@lru_cache(maxsize=1)
def packaged_prices() -> PriceList:
    """The list of the package. Source: each row's `source` and `transcribed_by`."""
    return read_prices(load_json(_DATA, "prices.json"), "prices.json", is_own=False)


@lru_cache(maxsize=1)
def whole_currencies() -> frozenset[str]:
    """Currencies that are written without a fraction. Source: ISO 4217."""
    return frozenset(load_toml(_DATA, "currencies.toml")["whole"]["codes"])


def read_prices(content: Any, where: str, is_own: bool = True) -> PriceList:
    """The price list in the content of a file: `rows`, and `exchange_rates` by currency.

    A row needs `gpu` and `usd_per_gpu_hour`. A user's GPU may have any known name; rows of GPUs that nobody named are
    passed over. Raises InputError with everything that is wrong.
    """
    rows = content.get("rows", []) if isinstance(content, Mapping) else None
    rates = content.get("exchange_rates", {}) if isinstance(content, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not isinstance(rates, Mapping) or not (rows or rates):
        raise InputError.of("prices_broken", where=where, detail="rows")
    offers: list[Offer] = []
    problems: list[Any] = []
    for number, row in enumerate(rows, start=1):
        try:
            if not isinstance(row, Mapping):
                raise InputError.of("prices_broken", where=where, detail=f"rows[{number}]")
            if row.get("gpu") is not None:
                offers.append(_offer(row, f"rows[{number}]", where, is_own))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return PriceList(offers=tuple(offers), rates=tuple(_rates(rates, where)), is_own=is_own)


def _offer(row: Mapping[str, Any], name: str, where: str, is_own: bool) -> Offer:
    count, day = row.get("gpus_in_offer", 1), row.get("price_date")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_GPUS_IN_OFFER:
        raise InputError.of("prices_broken", where=where, detail=f"{name}.gpus_in_offer")
    if day is not None and not _DATE.fullmatch(str(day)):
        raise InputError.of("prices_broken", where=where, detail=f"{name}.price_date")
    texts = {key: _text(row.get(key)) for key in ("region", "source", "transcribed_by", "licence", "note")}
    return Offer(
        gpu=identify(str(row["gpu"])).device.id if is_own else row["gpu"],
        provider=_text(row.get("provider")) or where,
        usd_per_gpu_hour=_positive(row.get("usd_per_gpu_hour"), f"{name}.usd_per_gpu_hour", where),
        tier=_text(row.get("tier")) or "on-demand",
        gpus_in_offer=count,
        price_date=None if day is None else str(day),
        **texts,
    )


def _rates(rates: Mapping[str, Any], where: str) -> Iterable[Rate]:
    for currency, row in rates.items():
        fields = row if isinstance(row, Mapping) else {"per_usd": row}
        per_usd = _positive(fields.get("per_usd"), f"exchange_rates.{currency}", where)
        yield Rate(
            currency=str(currency).upper(),
            per_usd=per_usd,
            date=_text(fields.get("date")),
            source=_text(fields.get("source")) or where,
        )


def _text(value: Any) -> str | None:
    return None if value is None or str(value) == "" else "".join(c for c in str(value) if c.isprintable())[:200]


def _positive(value: Any, name: str, where: str) -> Decimal:
    """A price as it was written: binary fractions do not enter."""
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise InputError.of("prices_broken", where=where, detail=name) from error
    if isinstance(value, bool) or not number.is_finite() or not 0 < number < 10**9:
        raise InputError.of("prices_broken", where=where, detail=name)
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPrice:
    """What one GPU cost when it came out in `year`, rounded; an estimate where the maker published none."""

    usd: Decimal
    year: int
    is_estimate: bool
    ref: str


@lru_cache(maxsize=1)
def list_prices() -> Mapping[str, ListPrice]:
    """Purchase prices by GPU id. Source: hardware_prices.toml."""
    return {
        gpu: ListPrice(
            usd=Decimal(usd),
            year=year,
            is_estimate=group["source"]["kind"] == "estimate",
            ref=group["source"]["ref"],
        )
        for group in load_toml(_DATA, "hardware_prices.toml")["groups"]
        for gpu, (usd, year) in group["usd_and_year"].items()
    }


def day_number(date: str) -> int:
    """Days from 0001-01-01, which is 1, to a date `YYYY-MM-DD` (Gregorian calendar). Raises ValueError."""
    found = _DATE.fullmatch(date)
    if found is None:
        raise ValueError(date)
    year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
    # the year begins in March, so that the leap day is its last
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 307 + 1


def age_days(date: str | None, today: str | None) -> int | None:
    """Days from a date to today, none below zero; None where either is not known."""
    return None if date is None or today is None else max(0, day_number(today) - day_number(date))


def priced_gpus() -> tuple[str, ...]:
    """GPUs that have a price: what one can buy or rent today."""
    return tuple(sorted({*packaged_prices().gpus, *list_prices()}))
