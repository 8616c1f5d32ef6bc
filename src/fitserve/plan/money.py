"""The currency of an answer: a rate that somebody stated, never a guessed one."""

import re
from collections.abc import Sequence
from decimal import Decimal

from fitserve.foundation.errors import InputError, Problem
from fitserve.predict.prices import DOLLAR, Rate

_RATE = re.compile(r"\s*(?:USD\s*/\s*)?(?P<currency>[A-Za-z]{3})\s*=\s*(?P<per_usd>[0-9][0-9_,]*(?:\.[0-9]+)?)\s*")
_CURRENCY = re.compile(r"[A-Z]{3}")


def rate_of(currency: str | None, exchange_rate: Sequence[str], own_rates: Sequence[Rate] = ()) -> Rate:
    """The rate of a currency; one rate given and no currency named means that one. Raises InputError with all problems."""
    problems: list[Problem] = []
    given: dict[str, Rate] = {rate.currency: rate for rate in own_rates}
    named: list[str] = []
    for text in exchange_rate:
        found = _RATE.fullmatch(text)
        per_usd = Decimal(re.sub(r"[_,]", "", found["per_usd"])) if found else Decimal(0)
        if found is None or per_usd == 0:
            problems += InputError.of("exchange_rate_wrong", given=text[:80]).problems
            continue
        named.append(found["currency"].upper())
        given[named[-1]] = Rate(currency=named[-1], per_usd=per_usd)
    wanted = (currency or (named[0] if len(named) == 1 else DOLLAR.currency)).strip().upper()
    if wanted != DOLLAR.currency:
        if not _CURRENCY.fullmatch(wanted):
            problems += InputError.of("currency_wrong", given=wanted[:20]).problems
        elif wanted not in given and not problems:
            problems += InputError.of("exchange_rate_missing", currency=wanted).problems
    if problems:
        raise InputError(*problems)
    return given.get(wanted, DOLLAR)
