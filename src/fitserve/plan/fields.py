"""Types of request fields: text as people type it to values, with an error code where it cannot be."""

import unicodedata
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from fitserve.foundation.units import parse_bytes, parse_tokens

_MOST_TOKENS = 2**31
_MOST_BYTES = 2**60
_MOST_COUNT = 2**20


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
    if value in {"no", "auto"}:
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


def _several(value: object) -> object:
    """One text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


Tokens = Annotated[int, BeforeValidator(_tokens)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Count = Annotated[int, BeforeValidator(_count)]
Offload = Annotated[str | int, BeforeValidator(_offload)]
Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]
