"""Speed and cost of a plan in words: cells of tables, and the lines below a budget."""

from fitserve.foundation.intervals import Interval
from fitserve.plan.answer import cost_of
from fitserve.predict.prices import DOLLAR, Rate
from fitserve.predict.types import Speed
from fitserve.render.layout import Rows, headings_of
from fitserve.render.money import money_text, price_text
from fitserve.render.texts import Texts
from fitserve.search.evaluate import Evaluated

_NONE = "–"
_ONE_SECOND = 1.0


def rate_text(value: float) -> str:
    """Tokens a second: `3,390`, `167`, `24`, `8.3`, `0.42`; never more places than a prediction has."""
    if value >= 1:
        return f"{float(f'{value:.3g}'):,.0f}" if value >= 10 else f"{value:.2g}"
    return f"{value:.2g}"


def seconds_text(value: float) -> str:
    """`85 ms`, `0.85 ms`, `1.2 s`, `43 s`."""
    if value >= _ONE_SECOND:
        return f"{float(f'{value:.2g}'):,g} s"
    return f"{float(f'{value * 1000:.2g}'):g} ms"


def speed_cells(item: Evaluated) -> tuple[str, str]:
    """Tokens a second of one user, and the time to the first token."""
    if item.speed is None:
        return _NONE, _NONE
    return rate_text(item.speed.per_user_tok_per_s.likely), seconds_text(item.speed.ttft_s.likely)


def cost_cell(item: Evaluated, rate: Rate, texts: Texts) -> str:
    """Price of a million output tokens at the predicted throughput."""
    found = cost_of(item, rate) if item.fits else None
    if found is None or found.usd_per_million_output_tokens is None:
        return _NONE
    return money_text(
        found.usd_per_million_output_tokens.likely * float(rate.per_usd), rate.currency, texts.language
    )  # fmt: skip


def speed_lines(item: Evaluated, texts: Texts) -> list[str]:
    """Speed with its intervals; nothing where it is not known (a reason says why)."""
    speed = item.speed
    if speed is None:
        return []
    first = texts.label(
        "speed_line", ttft=_times(speed.ttft_s), gap=_times(speed.inter_token_s), rate=_rates(speed.per_user_tok_per_s)
    )
    lines = [first]
    if not _is_alone(speed):
        lines.append(texts.label("speed_all", rate=_rates(speed.output_tok_per_s)))
    if item.users_within_targets is not None:
        lines.append(texts.label("users_within", count=item.users_within_targets))
    return lines


def _is_alone(speed: Speed) -> bool:
    """Whether all users together are one, but for the time to the first token."""
    return speed.output_tok_per_s.likely <= speed.per_user_tok_per_s.likely


def cost_line(item: Evaluated, rate: Rate, texts: Texts) -> str | None:
    """What the GPUs cost an hour and a million tokens; None where no price is known."""
    found = cost_of(item, rate) if item.fits else None
    if found is None:
        return None
    quote = found.hourly.median
    price = price_text(quote.usd_per_hour, "USD")
    if rate != DOLLAR:
        price += f" = {price_text(rate.of(quote.usd_per_hour), rate.currency, texts.language)}"
    tokens = found.usd_per_million_output_tokens
    per_million = None
    if tokens is not None:
        likely, low, high = (
            money_text(value * float(rate.per_usd), rate.currency, texts.language)
            for value in (tokens.likely, tokens.low, tokens.high)
        )
        per_million = f"{likely} ({low} – {high})"
    return texts.label(
        "cost_line", price=price, provider=quote.provider, date=quote.price_date or "?", count=len(found.hourly.quotes),
        low=price_text(found.hourly.cheapest.usd_per_hour, "USD"),
        high=price_text(found.hourly.highest.usd_per_hour, "USD"), tokens=per_million,
    )  # fmt: skip


def load_rows(curve: tuple[tuple[int, Speed], ...], texts: Texts) -> Rows:
    """A row a number of users."""
    names = (">users", ">per_user", ">all_users", ">first_token")
    rows = tuple(
        (
            str(users), rate_text(speed.per_user_tok_per_s.likely), rate_text(speed.output_tok_per_s.likely),
            seconds_text(speed.ttft_s.likely),
        )
        for users, speed in curve
    )  # fmt: skip
    return Rows(headings_of(names, texts), rows)


def _times(value: Interval) -> str:
    return f"{seconds_text(value.likely)} ({seconds_text(value.low)} – {seconds_text(value.high)})"


def _rates(value: Interval) -> str:
    return f"{rate_text(value.likely)} ({rate_text(value.low)} – {rate_text(value.high)})"
