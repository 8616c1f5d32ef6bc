"""Numbers of a question: tokens of context, users, money, hours, wanted speed."""

import re
from decimal import Decimal, InvalidOperation

from fitserve.ask.spans import Spans
from fitserve.ask.text import number_of

_K = 1024
_NUMBER = r"(?<![\w.])(?P<number>\d+(?:\.\d+)?)"
_CONTEXT_WORDS = r"(?:context|ctx|컨텍|max[-_ ]?model[-_ ]?len|num_ctx|입력|prompt|프롬프트|길이|window|seq(?:uence)? ?len\w*)"
_CONTEXT = (
    re.compile(rf"{_NUMBER}\s*(?P<unit>k|m|천|만)?\s*-?\s*(?:token|tokens|tok)?s?\s*(?:짜리|의|of|정도|까지|길이)?\s*{_CONTEXT_WORDS}"),
    re.compile(rf"{_CONTEXT_WORDS}\s*(?:size|length|len|길이|크기|는|은|을|를|이|가|of|to|at|=|:|with|를|최대|up to|도)*\s*{_NUMBER}\s*(?P<unit>k|m|천|만)?(?!\s*(?:명|장|gb|bit))"),
    re.compile(rf"{_NUMBER}\s*(?P<unit>k|m|만|천)(?:\s*(?P<more>\d)천)?\s*token"),
    re.compile(r"(?<![\w./$])(?P<number>\d{1,4})(?P<unit>k|m)(?![a-z0-9])(?!\s*(?:usd|원|won|dataset|samples|users|iops|req|krw|줄|건|per|a month|/))"),
    re.compile(r"(?<![\w.])(?P<number>\d{4,7})(?P<unit>)\s*(?:token)"),
)
_NOT_CONTEXT = re.compile(r"^\s*(?:token)?s?\s*당|비용|output|출력|답변|생성|per second|/s|초당|second|sec|million|백만|만 개|dataset|data|데이터")
_USERS = (
    re.compile(r"(?P<number>\d+)\s*(?:명|users?|people|persons?|clients|developers?|employees|engineers|students|customers|concurrent|simultaneous|parallel|동시|동접|사용자|유저|requests? at (?:once|a time|the same time)|requests? in parallel|sessions?)"),
    re.compile(r"(?:concurrency|batch size|batch|배치(?: 크기| 사이즈)?|동시(?:에)?\s*(?:접속자?|사용자?|요청|유저)?|동접자?|사용자|유저|users|parallel|parallelism|num-seqs|max-num-seqs)\s*(?:of|=|:|수|는|은|이|가|를|을|로|에|도|수는|수가)*\s*(?P<number>\d+)(?!\s*(?:k|b|gb|bit|g|token|장|[.]\d))\s*(?:명|개|건|users?)?"),
    re.compile(r"(?P<number>\d+)\s*(?:개|건)?(?:의)?\s*(?:동시|요청을 동시|요청)"),
    re.compile(r"(?:team|group|office|company|class) of (?P<number>\d+)"),
)
_KOREAN_USERS = re.compile(r"(?P<number>[가-힣]{1,3}?)\s*(?:명|사람)(?![가-힣]*령)")
_ENGLISH_USERS = re.compile(r"(?<![a-z])(?P<number>[a-z]+)\s+(?:concurrent |simultaneous |parallel )?(?:users?|people|persons?|developers?|clients?)")
_ALONE = re.compile(r"혼자|나만|개인용|single user|just me|only me|by myself|personal use|개인적으로|one user|1인")
_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?:tok(?:en)?s?|t)\s*(?:/|per )\s*s(?:ec(?:ond)?)?|초당\s*(?P<korean>\d+(?:\.\d+)?)\s*token|(?P<tps>\d+)\s*tps|초당 (?P<other>\d+)")
_HOURLY = re.compile(r"(?:\$|usd)\s*(?P<number>\d+(?:\.\d+)?)\s*(?:usd)?\s*(?:/|per|an|a)?\s*(?:h(?:ou)?r|시간)|시간당\s*\$?\s*(?P<korean>\d+(?:\.\d+)?)\s*(?:usd|\$)|(?P<after>\d+(?:\.\d+)?)\s*usd\s*(?:/|per|an)?\s*(?:hour|hr|시간|h(?![a-z]))")
_HOURS = re.compile(r"(?<![\d.$])(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>시간|hours?|hrs?|일(?=\s|간|동안|이면|,|\?)|days?|개월|달|months?|weeks?|주일?(?=\s|간|동안))")
_EXCHANGE = re.compile(r"(?:환율|exchange rate|krw|1\s*usd)(?:\D{0,10}1\s*usd)?\D{0,12}(?P<number>\d{3,5}(?:\.\d+)?)")
_DOLLARS = re.compile(r"\$\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>k)?|(?P<other>\d+(?:\.\d+)?)\s*(?P<other_unit>k)?\s*(?:usd|dollars?|bucks)")
_HOURS_OF = {"시간": 1, "hour": 1, "hr": 1, "일": 24, "day": 24, "week": 168, "주": 168, "month": Decimal("730.5"), "개월": Decimal("730.5"), "달": Decimal("730.5")}


def find_context(spans: Spans) -> int | None:
    """Tokens of context; `k` is 1,024 as for the flags, a plain number is itself."""
    for pattern in _CONTEXT:
        for match in pattern.finditer(spans.plain):
            place = match.start("number")
            if not spans.letters_free(place, match.end("number")) or _NOT_CONTEXT.search(spans.plain[match.end() : match.end() + 12]):
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
    for pattern in _USERS:
        for match in pattern.finditer(plain):
            if spans.letters_free(match.start("number"), match.end("number")) and plain[match.start() - 1 : match.start()] not in {".", "-"}:
                spans.take_letters(match.start("number"), match.end("number"))
                return max(1, int(match["number"]))
    for pattern in (_KOREAN_USERS, _ENGLISH_USERS):
        for match in pattern.finditer(plain):
            number = number_of(match["number"]) or _last_syllables(match["number"])
            if number is not None and match["number"] not in {"a", "an"}:
                return number
    return 1 if _ALONE.search(plain) else None


def _last_syllables(text: str) -> int | None:
    return next((n for k in (2, 1) if (n := number_of(text[-k:])) is not None), None) if re.search("[가-힣]", text) else None


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
