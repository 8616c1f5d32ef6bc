"""Base units: bytes, tokens, seconds. Human units are read here and written in `render` only."""

import re
from typing import Final

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30
GB: Final = 10**9

_BYTE_UNITS: Final = {
    "": GIB,
    "b": 1,
    "k": KIB,
    "kb": 10**3,
    "kib": KIB,
    "m": MIB,
    "mb": 10**6,
    "mib": MIB,
    "g": GIB,
    "gb": GB,
    "gib": GIB,
    "t": 2**40,
    "tb": 10**12,
    "tib": 2**40,
}
_TOKEN_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2}
_QUANTITY: Final = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*")


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up."""
    return -(-numerator // denominator)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return ceil_div(value, multiple) * multiple


def parse_bytes(text: str) -> int:
    """Bytes of `64GiB`, `64 GB`, `512M`; a bare number is GiB. Raises ValueError."""
    return _parse(text, _BYTE_UNITS)


def parse_tokens(text: str) -> int:
    """Tokens of `8192`, `32k` (32,768) or `1M` (1,048,576). Raises ValueError."""
    return _parse(text, _TOKEN_UNITS)


def _parse(text: str, units: dict[str, int]) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in units:
        raise ValueError(text)
    number = match[1].replace("_", "").replace(",", "")
    return round(float(number) * units[match[2].lower()]) if "." in number else int(number) * units[match[2].lower()]
