"""The answer of `cost` as JSON and on the terminal."""

from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.foundation.intervals import Interval
from fitserve.plan.cost import CostAnswer
from fitserve.predict.cost import HourlyPrice
from fitserve.predict.prices import DOLLAR, Offer, Rate, age_days
from fitserve.render.forms import SCHEMA_VERSION, reason_form
from fitserve.render.human import count_text
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.money import money_text, price_text
from fitserve.render.plan_cost import hourly_form, money_interval, quote_form, rate_form
from fitserve.render.texts import Texts


def _offer_form(offer: Offer, age_days: int | None) -> dict[str, Any]:
    return {
        "gpu": offer.gpu, "provider": offer.provider, "tier": offer.tier, "region": offer.region,
        "gpus_in_offer": offer.gpus_in_offer, "usd_per_gpu_hour": float(offer.usd_per_gpu_hour),
        "price_date": offer.price_date, "age_days": age_days, "source": offer.source,
        "transcribed_by": offer.transcribed_by, "licence": offer.licence, "note": offer.note,
    }  # fmt: skip


def cost_form(answer: CostAnswer, texts: Texts) -> dict[str, Any]:
    """The answer of `cost`. Amounts are not rounded; `text` is how they are shown."""
    rate = answer.rate
    return {
        "schema_version": SCHEMA_VERSION,
        "gpus": [{"gpu": gpu, "count": count} for gpu, count in answer.counts],
        "usd_per_hour": float(answer.usd_per_hour),
        "price_kind": answer.kind,
        "currency": rate.currency,
        "per_hour": float(rate.of(answer.usd_per_hour)),
        "exchange_rate": rate_form(rate),
        "rows": [
            {
                "hours": _number(row.hours),
                "usd": float(row.usd),
                "currency": rate.currency,
                "amount": float(row.amount),
                "text": money_text(row.amount, rate.currency, texts.language),
            }
            for row in answer.rows
        ],
        "price": None if answer.hourly is None else _price_form(answer, answer.hourly),
        "utilization": float(answer.request.utilization),
        "usd_per_million_output_tokens": money_interval(answer.usd_per_million_output_tokens),
        "usd_per_million_input_tokens": money_interval(answer.usd_per_million_input_tokens),
        "per_million_output_tokens": money_interval(answer.usd_per_million_output_tokens, rate),
        "per_million_input_tokens": money_interval(answer.usd_per_million_input_tokens, rate),
        "own": _own_form(answer),
        "api": _api_form(answer),
        "notes": [reason_form(reason, texts) for reason in answer.notes],
    }


def _price_form(answer: CostAnswer, hourly: HourlyPrice) -> dict[str, Any]:
    quotes = [
        quote_form(quote)
        | {"offers": [_offer_form(offer, age_days(offer.price_date, answer.today)) for offer in quote.offers]}
        for quote in hourly.quotes
    ]
    return hourly_form(hourly) | {"quotes": quotes}


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _own_form(answer: CostAnswer) -> dict[str, Any] | None:
    own, against = answer.own, answer.against_own
    if own is None:
        return None
    usd_per_hour = own.usd_per_hour(answer.hours_per_month)
    hours = None if against is None else against.break_even_hours_per_month
    payback = None if against is None else against.payback_hours
    return {
        "hardware_usd": float(own.hardware_usd), "years": float(own.years), "watts": float(own.watts),
        "usd_per_kwh": float(own.usd_per_kwh), "load": float(own.load), "pue": float(own.pue),
        "hours_per_month": float(answer.hours_per_month), "usd_per_hour": float(usd_per_hour),
        "energy_usd_per_hour": float(own.energy_usd_per_hour), "per_hour": float(answer.rate.of(usd_per_hour)),
        "break_even_hours_per_month": None if hours is None else float(hours),
        "payback_hours": None if payback is None else float(payback),
    }  # fmt: skip


def _api_form(answer: CostAnswer) -> dict[str, Any] | None:
    api = answer.api
    if api is None:
        return None
    return {
        "usd_per_million_output_tokens": float(api.usd_per_million_output_tokens),
        "break_even_output_tok_per_hour": float(api.break_even_output_tok_per_hour),
        "break_even_utilization": money_interval(api.break_even_utilization),
    }


def cost_view(answer: CostAnswer, texts: Texts) -> RenderableType:
    """Price an hour, cost of hours, tokens, own hardware, API, offers, notes."""
    parts: list[RenderableType] = [Text(_title(answer, texts), style="bold"), _hours(answer, texts)]
    parts += [indented(line, indent=0) for line in (*_token_lines(answer, texts), *_own_lines(answer, texts))]
    parts += [indented(line, indent=0) for line in _api_lines(answer, texts)]
    if answer.hourly is not None:
        parts += [Text(texts.label("cost_offers"), style="bold"), _offers(answer, answer.hourly, texts)]
    if answer.notes or answer.rate != DOLLAR:
        parts.append(Text(texts.label("notes"), style="bold"))
    parts += [indented(f"· {line}", indent=2) for line in _note_lines(answer, texts)]
    return Group(*parts)


def cost_lines(
    answer: CostAnswer, texts: Texts
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """(price and token lines, headings and rows of the hours): what an answer in words shows."""
    hours = _hours(answer, texts)
    notes = _note_lines(answer, texts)[:1] if answer.rate != DOLLAR else []
    lines = (_title(answer, texts), *_token_lines(answer, texts), *_own_lines(answer, texts), *notes)
    return lines, hours.headings, hours.rows


def _title(answer: CostAnswer, texts: Texts) -> str:
    gpus = ", ".join(f"{count} x {gpu}" for gpu, count in answer.counts)
    price = price_text(answer.usd_per_hour, "USD")
    if answer.rate != DOLLAR:
        price += f" = {price_text(answer.rate.of(answer.usd_per_hour), answer.rate.currency, texts.language)}"
    if answer.kind == "offers" and answer.hourly is not None:
        hourly = answer.hourly
        low, high = price_text(hourly.cheapest.usd_per_hour, "USD"), price_text(hourly.highest.usd_per_hour, "USD")
        provider = hourly.median.provider
        text = texts.label(
            "cost_of_offers", gpus=gpus, price=price, provider=provider, count=len(hourly.quotes), low=low, high=high
        )
    else:
        text = texts.label(f"cost_{answer.kind}", gpus=gpus, price=price)
    return text


def _hours(answer: CostAnswer, texts: Texts) -> Rows:
    rate, language = answer.rate, texts.language
    headings = (*headings_of((">cost_hours",), texts), ">USD", *((f">{rate.currency}",) if rate != DOLLAR else ()))
    rows = []
    for row in answer.rows:
        hours = f"{row.hours.normalize():,f}"
        amount = (money_text(row.amount, rate.currency, language),) if rate != DOLLAR else ()
        rows.append((hours, money_text(row.usd, "USD"), *amount))
    return Rows(headings, tuple(rows))


def _token_lines(answer: CostAnswer, texts: Texts) -> list[str]:
    lines = []
    for code, value in (
        ("cost_output_tokens", answer.usd_per_million_output_tokens),
        ("cost_input_tokens", answer.usd_per_million_input_tokens),
    ):
        if value is not None:
            busy = f"{(answer.request.utilization * 100).normalize():f} %"
            lines.append(texts.label(code, price=_spread(value, answer.rate, texts), utilization=busy))
    return lines


def _spread(usd: Interval, rate: Rate, texts: Texts) -> str:
    """`$0.83`, `$0.83 ($0.70 – $1.02)`, with the currency after it."""
    text = money_text(usd.likely, "USD")
    if usd.low != usd.high:
        text += f" ({money_text(usd.low, 'USD')} – {money_text(usd.high, 'USD')})"
    if rate != DOLLAR:
        text += f" = {money_text(usd.likely * float(rate.per_usd), rate.currency, texts.language)}"
    return text


def _own_lines(answer: CostAnswer, texts: Texts) -> list[str]:
    own, against = answer.own, answer.against_own
    if own is None:
        return []
    hours = f"{answer.hours_per_month.normalize():,f}"
    lines = [
        texts.label(
            "cost_own_hour",
            price=price_text(own.usd_per_hour(answer.hours_per_month), "USD"),
            hours=hours,
            energy=price_text(own.energy_usd_per_hour, "USD"),
        )
    ]
    if against is not None and against.payback_hours is None:
        lines.append(texts.label("cost_never_own"))
    elif against is not None and against.payback_hours is not None:
        payback = f"{against.payback_hours:,.0f}"
        if against.break_even_hours_per_month is None:
            lines.append(texts.label("cost_not_in_a_month", payback=payback))
        else:
            lines.append(
                texts.label("cost_break_even", hours=f"{against.break_even_hours_per_month:,.0f}", payback=payback)
            )
    return lines


def _api_lines(answer: CostAnswer, texts: Texts) -> list[str]:
    api = answer.api
    if api is None:
        return []
    price = money_text(api.usd_per_million_output_tokens, "USD")
    tokens = f"{api.break_even_output_tok_per_hour:,.0f}"
    request = answer.request
    ratio = None
    if request.api_usd_per_million_input is not None and request.prompt_tokens and request.output_tokens:
        ratio = request.prompt_tokens / request.output_tokens
    lines = [texts.label("cost_api", price=price, tokens=tokens, ratio=ratio)]
    if api.break_even_utilization is not None:
        busy = api.break_even_utilization.likely
        code = "cost_api_busy" if busy <= 1 else "cost_api_cheaper"
        lines.append(texts.label(code, utilization=f"{busy * 100:,.0f} %"))
    return lines


def _offers(answer: CostAnswer, hourly: HourlyPrice, texts: Texts) -> Rows:
    names = (
        "cost_provider", "cost_tier", "gpu", ">cost_per_gpu", ">cost_in_offer", ">cost_total", "cost_date", ">cost_age",
    )  # fmt: skip
    rows = []
    for quote in hourly.quotes:
        for offer in quote.offers:
            age = age_days(offer.price_date, answer.today)
            place = f"{offer.provider}, {offer.region}" if offer.region else offer.provider
            total = price_text(quote.usd_per_hour, "USD") if offer is quote.offers[0] else ""
            rows.append(
                (
                    place, offer.tier, offer.gpu, price_text(offer.usd_per_gpu_hour, "USD"),
                    count_text(offer.gpus_in_offer), total, offer.price_date or "?", "?" if age is None else str(age),
                )
            )  # fmt: skip
    return Rows(headings_of(names, texts), tuple(rows))


def _note_lines(answer: CostAnswer, texts: Texts) -> list[str]:
    lines = [texts.reason(reason) for reason in answer.notes]
    if answer.rate != DOLLAR:
        rate = answer.rate
        given = {"per_usd": f"{rate.per_usd.normalize():,f}", "currency": rate.currency}
        dated = f"{rate.source or '-'}, {rate.date}" if rate.date else rate.source
        code = "cost_rate" if dated is None else "cost_rate_dated"
        lines.append(texts.label(code, **given, source=dated or "-"))
    return lines
