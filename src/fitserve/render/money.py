"""Money as people read it; the only place where it is rounded."""

from decimal import ROUND_HALF_UP, Decimal

from fitserve.predict.prices import whole_currencies

_CENT = Decimal("0.01")
_SMALL_PLACES = 3


def money_text(amount: Decimal | float, currency: str, language: str = "en") -> str:
    """`$81.55`, `KRW 121,275`, `121,275원`, `EUR 75.03`; below one unit three significant digits: `$0.0472`."""
    value = Decimal(str(amount))
    if not value.is_finite():
        return "∞"
    if currency in whole_currencies():
        text = f"{value.quantize(Decimal(1), ROUND_HALF_UP):,f}"
    elif 0 < abs(value) < 1:
        text = f"{_significant(value):,f}"
    else:
        text = f"{value.quantize(_CENT, ROUND_HALF_UP):,f}"
    return _with_currency(text, currency, language)


def price_text(amount: Decimal, currency: str, language: str = "en") -> str:
    """A unit price with the places that it was stated with, two at least and four at most: `$8.155`."""
    if currency in whole_currencies():
        return money_text(amount, currency, language)
    text = f"{amount.quantize(Decimal('0.0001'), ROUND_HALF_UP):,f}"
    whole, _, places = text.partition(".")
    return _with_currency(f"{whole}.{places[:2]}{places[2:].rstrip('0')}", currency, language)


def _significant(value: Decimal) -> Decimal:
    rounded = value.quantize(Decimal(1).scaleb(value.adjusted() - _SMALL_PLACES + 1), ROUND_HALF_UP)
    return rounded if abs(value) < Decimal("0.1") else value.quantize(_CENT, ROUND_HALF_UP)


def _with_currency(text: str, currency: str, language: str) -> str:
    if currency == "USD":
        return f"${text}"
    if currency == "KRW" and language == "ko":
        return f"{text}원"
    return f"{currency} {text}"
