"""Types of request fields: text as people type it to values, with an error code where it cannot be."""

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from fitserve.foundation.intervals import Interval
from fitserve.foundation.units import parse_bytes, parse_tokens

_MOST_TOKENS = 2**31
_MOST_BYTES = 2**60
_MOST_COUNT = 2**20
_LAST_PORT = 65535
_MOST_AMOUNT = Decimal(10**12)
_LEAST_AMOUNT = Decimal("1e-12")
_DECIMAL = re.compile(r"[+-]?[0-9][0-9_]*(\.[0-9]+)?|[+-]?\.[0-9]+")
_ADDRESS = re.compile(
    r"https?://([A-Za-z0-9][A-Za-z0-9.\-]*|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9.\-_~/]*)?"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _wrong(code: str, value: object, **context: Any) -> PydanticCustomError:
    return PydanticCustomError(code, code, {"given": str(value)[:80], **context})


def _tokens(value: object) -> int:
    try:
        number = parse_tokens(str(value)) if not isinstance(value, bool) else 0
    except ValueError as error:
        raise _wrong("tokens_wrong", value) from error
    if not 1 <= number <= _MOST_TOKENS:
        raise _wrong("tokens_wrong", value)
    return number


def _bytes(value: object) -> int:
    try:
        number = parse_bytes(str(value)) if not isinstance(value, bool) else 0
    except ValueError as error:
        raise _wrong("bytes_wrong", value) from error
    if not 1 <= number <= _MOST_BYTES:
        raise _wrong("bytes_wrong", value)
    return number


def _count(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError as error:
        raise _wrong("count_wrong", value) from error
    if not 1 <= number <= _MOST_COUNT or isinstance(value, bool):
        raise _wrong("count_wrong", value)
    return number


def _offload(value: object) -> str | int:
    if isinstance(value, str) and value in {"no", "auto"}:
        return str(value)
    try:
        number = int(str(value))
    except ValueError as error:
        raise _wrong("offload_wrong", value) from error
    if number < 0 or isinstance(value, bool):
        raise _wrong("offload_wrong", value)
    return number or "no"


def _text(value: object) -> str:
    """Text without control characters, which no name has and no shell could pass on."""
    if not isinstance(value, str) or any(unicodedata.category(letter) == "Cc" for letter in value):
        raise _wrong("text_wrong", repr(value))
    return value


def _address(value: object) -> str:
    """The http(s) address of a server, without `/v1` and slashes at its end."""
    found = _ADDRESS.fullmatch(str(value).strip())
    if found is None or (found["port"] and not 1 <= int(found["port"]) <= _LAST_PORT):
        raise _wrong("url_wrong", value)
    return found[0].rstrip("/").removesuffix("/v1").rstrip("/")


def _variable(value: object) -> str:
    """The name of an environment variable."""
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise _wrong("variable_wrong", value)
    return value


def _decimal(value: object, code: str) -> Decimal:
    text = str(value).strip()
    try:
        number = Decimal(text.replace("_", "")) if _DECIMAL.fullmatch(text) or isinstance(value, float) else None
    except InvalidOperation as error:
        raise _wrong(code, value) from error
    if number is None or not number.is_finite() or isinstance(value, bool):
        raise _wrong(code, value)
    return number


def _amount(value: object) -> Decimal:
    """A number above zero, as it was written: binary fractions do not enter."""
    number = _decimal(value, "amount_wrong")
    if not _LEAST_AMOUNT <= number <= _MOST_AMOUNT:
        raise _wrong("amount_wrong", value)
    return number


def _amount_or_zero(value: object) -> Decimal:
    number = _decimal(value, "amount_or_zero_wrong")
    if not 0 <= number <= _MOST_AMOUNT:
        raise _wrong("amount_or_zero_wrong", value)
    return number


_SECONDS = re.compile(r"(?P<number>[0-9.]+)\s*(?P<unit>ms|s|)")
_MILLISECONDS = 1000


def _seconds(value: object) -> float:
    """`0.2`, `200ms`, `2s`: seconds above zero."""
    found = _SECONDS.fullmatch(str(value).strip())
    if found is None or isinstance(value, bool):
        raise _wrong("seconds_wrong", value)
    number = _decimal(found["number"], "seconds_wrong") / (_MILLISECONDS if found["unit"] == "ms" else 1)
    if not _LEAST_AMOUNT <= number <= _MOST_AMOUNT:
        raise _wrong("seconds_wrong", value)
    return float(number)


def _port(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError as error:
        raise _wrong("port_wrong", value) from error
    if not 1 <= number <= _LAST_PORT or isinstance(value, bool):
        raise _wrong("port_wrong", value)
    return number


def _positive(value: object) -> float:
    return float(_amount(value))


def _share(value: object) -> Decimal:
    """A share of the whole, `0.6` or `60%`: above 0, at most 1."""
    text = str(value).strip()
    number = _decimal(text.removesuffix("%").strip(), "share_wrong") / (100 if text.endswith("%") else 1)
    if not _LEAST_AMOUNT <= number <= 1 or isinstance(value, bool):
        raise _wrong("share_wrong", value)
    return number


def _chance(value: object) -> float:
    """A chance, `0.7` or `70%`: 0 to 1."""
    text = str(value).strip()
    number = _decimal(text.removesuffix("%").strip(), "chance_wrong") / (100 if text.endswith("%") else 1)
    if not 0 <= number <= 1 or isinstance(value, bool):
        raise _wrong("chance_wrong", value)
    return float(number)


def _factor(value: object) -> Decimal:
    """A factor from 1 on."""
    number = _decimal(value, "factor_wrong")
    if not 1 <= number <= _MOST_COUNT:
        raise _wrong("factor_wrong", value)
    return number


def _spread(value: object) -> Interval:
    """`1000`, or low, likely and high: `800:1000:1150`."""
    if isinstance(value, Interval):
        return value
    parts = [_decimal(part, "spread_wrong") for part in str(value).split(":")]
    good = all(_LEAST_AMOUNT <= part <= _MOST_AMOUNT for part in parts) and parts == sorted(parts)
    if len(parts) not in {1, 3} or not good or isinstance(value, bool):
        raise _wrong("spread_wrong", value)
    return Interval(float(parts[0]), float(parts[len(parts) // 2]), float(parts[-1]))


def _several(value: object) -> object:
    """One value stands for a list of one."""
    return (value,) if isinstance(value, str | int | float) else value


# What the JSON of a request may hold, which is more than the value that it becomes: `32k` for tokens, `24GiB` for bytes.
_NumberOrText = int | str
_AmountOrText = float | str

Tokens = Annotated[int, BeforeValidator(_tokens, json_schema_input_type=_NumberOrText)]
Bytes = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=_NumberOrText)]
Count = Annotated[int, BeforeValidator(_count, json_schema_input_type=_NumberOrText)]
Offload = Annotated[str | int, BeforeValidator(_offload, json_schema_input_type=_NumberOrText)]
Text = Annotated[str, BeforeValidator(_text)]
Address = Annotated[str, BeforeValidator(_address)]
Variable = Annotated[str, BeforeValidator(_variable)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])]
Seconds = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=_AmountOrText)]
Port = Annotated[int, BeforeValidator(_port, json_schema_input_type=_NumberOrText)]
Positive = Annotated[float, BeforeValidator(_positive, json_schema_input_type=_AmountOrText)]
Amount = Annotated[Decimal, BeforeValidator(_amount, json_schema_input_type=_AmountOrText)]
AmountOrZero = Annotated[Decimal, BeforeValidator(_amount_or_zero, json_schema_input_type=_AmountOrText)]
Amounts = Annotated[
    tuple[Amount, ...], BeforeValidator(_several, json_schema_input_type=_AmountOrText | list[_AmountOrText])
]
Share = Annotated[Decimal, BeforeValidator(_share, json_schema_input_type=_AmountOrText)]
Chance = Annotated[float, BeforeValidator(_chance, json_schema_input_type=_AmountOrText)]
Factor = Annotated[Decimal, BeforeValidator(_factor, json_schema_input_type=_AmountOrText)]
Spread = Annotated[Interval, BeforeValidator(_spread, json_schema_input_type=_AmountOrText)]
