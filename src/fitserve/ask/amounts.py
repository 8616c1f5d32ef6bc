"""Numbers of a question: tokens of context, users, money, hours, wanted speed."""

import re
from decimal import Decimal, InvalidOperation

from fitserve.ask.spans import Spans
from fitserve.ask.text import number_of, pattern, patterns

_K = 1024
_CONTEXT = patterns("context")
_NOT_CONTEXT = pattern("not_context")
_USERS = patterns("users")
_KOREAN_USERS = re.compile(r"(?P<number>[가-힣]{1,3}?)\s*(?:명|사람)(?![가-힣]*령)")
_ENGLISH_USERS = pattern("english_users")
_ALONE = re.compile(r"혼자|나만|개인용|single user|just me|only me|by myself|personal use|개인적으로|one user|1인")
_RATE = pattern("rate")
_HOURLY = pattern("hourly")
_HOURS = pattern("hours")
_EXCHANGE = re.compile(r"(?:환율|exchange rate|krw|1\s*usd)(?:\D{0,10}1\s*usd)?\D{0,12}(?P<number>\d{3,5}(?:\.\d+)?)")
_DOLLARS = pattern("dollars")
_MONTH = Decimal("730.5")
_HOURS_OF: dict[str, Decimal] = {
    "시간": Decimal(1), "hour": Decimal(1), "hr": Decimal(1), "일": Decimal(24), "day": Decimal(24),
    "week": Decimal(168), "주": Decimal(168), "month": _MONTH, "개월": _MONTH, "달": _MONTH,
}  # fmt: skip


def find_context(spans: Spans) -> int | None:
    """Tokens of context; `k` is 1,024 as for the flags, a plain number is itself."""
    for wanted in _CONTEXT:
        for match in wanted.finditer(spans.plain):
            place = match.start("number")
            if not spans.letters_free(place, match.end("number")) or _NOT_CONTEXT.search(
                spans.plain[match.end() : match.end() + 12]
            ):
                continue
            tokens = _tokens(match)
            if 256 <= tokens <= 2**24:
                spans.take_letters(match.start(), match.end())
                return tokens
    return None


def _tokens(match: re.Match[str]) -> int:
    number = Decimal(match["number"])
    unit = match["unit"] or ""
    more = match.groupdict().get("more")
    factor = {"k": _K, "m": _K * _K, "천": 1000, "만": 10_000}.get(unit, 1)
    return int(number * factor) + (int(more) * 1000 if more else 0)


def find_users(spans: Spans) -> int | None:
    """Requests at once."""
    plain = spans.plain
    for wanted in _USERS:
        for match in wanted.finditer(plain):
            if spans.letters_free(match.start("number"), match.end("number")) and plain[
                match.start() - 1 : match.start()
            ] not in {".", "-"}:
                spans.take_letters(match.start("number"), match.end("number"))
                return max(1, int(match["number"]))
    for wanted in (_KOREAN_USERS, _ENGLISH_USERS):
        for match in wanted.finditer(plain):
            number = number_of(match["number"]) or _last_syllables(match["number"])
            if number is not None and match["number"] not in {"a", "an"}:
                return number
    return 1 if _ALONE.search(plain) else None


def _last_syllables(text: str) -> int | None:
    return (
        next((n for k in (2, 1) if (n := number_of(text[-k:])) is not None), None)
        if re.search("[가-힣]", text)
        else None
    )


def find_rate(spans: Spans) -> float | None:
    """Tokens a second that one user is to get."""
    match = _RATE.search(spans.plain)
    if match is None:
        return None
    number = next(value for value in match.groups() if value)
    spans.take_letters(match.start(), match.end())
    return float(number)


def find_money(spans: Spans) -> tuple[Decimal | None, Decimal | None, str | None, str | None]:
    """(USD an hour, budget in USD, currency wanted, rate as `KRW=1487.13`)."""
    plain, lower = spans.plain, spans.original.lower()
    hourly = _HOURLY.search(plain)
    usd_per_hour = None
    if hourly is not None:
        usd_per_hour = _decimal(next(value for value in hourly.groups() if value))
        spans.take_letters(hourly.start(), hourly.end())
    budget = None
    for match in _DOLLARS.finditer(plain):
        if hourly is not None and match.start() < hourly.end() and match.end() > hourly.start():
            continue
        number = _decimal(match["number"] or match["other"])
        budget = number * 1000 if number is not None and (match["unit"] or match["other_unit"]) else number
        spans.take_letters(match.start(), match.end())
        break
    rate = _EXCHANGE.search(re.sub(r"(?<=\d),(?=\d{3})", "", lower).replace("달러", "usd"))
    exchange = f"KRW={rate['number']}" if rate else None
    wants_won = re.search(r"원화|한화|won(?![a-z])|krw|원으로|몇 원|\d원|만\s*원", lower)
    return usd_per_hour, budget, "KRW" if wants_won or exchange else None, exchange


def find_hours(spans: Spans) -> tuple[Decimal, ...]:
    """Hours that are to be paid."""
    found: list[Decimal] = []
    for match in _HOURS.finditer(spans.plain):
        if re.match(r"시간당", spans.plain[match.start("unit") :]):
            continue
        unit = next(name for name in _HOURS_OF if match["unit"].startswith(name))
        number = _decimal(match["number"])
        if number is not None and number > 0:
            found.append(number * _HOURS_OF[unit])
    listed = re.search(r"(?<![\d.$])((?:\d+\s*(?:[,/]|와|과|and|or)\s*)+)\d+\s*(?:시간|hours)", spans.plain)
    if listed:
        found = [Decimal(text) for text in re.findall(r"\d+", listed[1])] + found
    return tuple(dict.fromkeys(found))


def _decimal(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None
