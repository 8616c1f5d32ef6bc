"""Prices as JSON: the cost of a plan, and the parts that the answer of `cost` shares with it."""

from typing import Any

from fitserve.foundation.intervals import Interval
from fitserve.predict.cost import HourlyPrice, PlanCost, Quote, in_currency
from fitserve.predict.prices import DOLLAR, Rate, age_days
from fitserve.render.forms import interval_form


def plan_cost_form(cost: PlanCost | None, today: str | None = None) -> dict[str, Any] | None:
    """Cost of a plan, as in CONTRACT; with `today` (YYYY-MM-DD) also the age of the price. Amounts are not rounded."""
    if cost is None:
        return None
    return {
        "usd_per_hour": float(cost.usd_per_hour),
        "usd_per_million_output_tokens": money_interval(cost.usd_per_million_output_tokens),
        "usd_per_million_input_tokens": money_interval(cost.usd_per_million_input_tokens),
        "currency": cost.rate.currency,
        "per_hour": float(cost.rate.of(cost.usd_per_hour)),
        "per_million_output_tokens": money_interval(cost.usd_per_million_output_tokens, cost.rate),
        "per_million_input_tokens": money_interval(cost.usd_per_million_input_tokens, cost.rate),
        "exchange_rate": rate_form(cost.rate),
        "utilization": float(cost.utilization),
        "price_date": cost.hourly.median.price_date,
        "age_days": age_days(cost.hourly.median.price_date, today),
        "price": hourly_form(cost.hourly),
    }


def money_interval(value: Interval | None, rate: Rate = DOLLAR) -> dict[str, float | int] | None:
    """INTERVAL in a currency; None where the throughput is not known."""
    return None if value is None else interval_form(in_currency(value, rate))


def rate_form(rate: Rate) -> dict[str, Any] | None:
    """The exchange rate; None for US dollars."""
    if rate == DOLLAR:
        return None
    return {
        "currency": rate.currency, "per_usd": float(rate.per_usd), "date": rate.date, "source": rate.source,
    }  # fmt: skip


def hourly_form(hourly: HourlyPrice) -> dict[str, Any]:
    """Middle, lowest and highest quote."""
    return {
        "median": quote_form(hourly.median),
        "cheapest": quote_form(hourly.cheapest),
        "highest": quote_form(hourly.highest),
        "offers": len(hourly.quotes),
    }


def quote_form(quote: Quote) -> dict[str, Any]:
    """One provider's price and where it was read."""
    return {
        "provider": quote.provider, "usd_per_hour": float(quote.usd_per_hour), "price_date": quote.price_date,
        "sources": list(dict.fromkeys(offer.source for offer in quote.offers)),
    }  # fmt: skip
