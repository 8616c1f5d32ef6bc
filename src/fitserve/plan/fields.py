"""Types of request fields: text as people type it to values, with an error code where it cannot be."""

import re
import unicodedata
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from fitserve.foundation.units import parse_bytes, parse_tokens

_MOST_TOKENS = 2**31
_MOST_BYTES = 2**60
_MOST_COUNT = 2**20
_LAST_PORT = 65535
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


def _several(value: object) -> object:
    """One text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


Tokens = Annotated[int, BeforeValidator(_tokens)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Count = Annotated[int, BeforeValidator(_count)]
Offload = Annotated[str | int, BeforeValidator(_offload)]
Text = Annotated[str, BeforeValidator(_text)]
Address = Annotated[str, BeforeValidator(_address)]
Variable = Annotated[str, BeforeValidator(_variable)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]
