"""Forms that every JSON answer shares: intervals and reasons."""

from typing import Any

from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason
from fitserve.render.texts import Texts

SCHEMA_VERSION = 1


def interval_form(value: Interval, whole: bool = False, digits: int | None = None) -> dict[str, float | int]:
    """INTERVAL of the contract, rounded to `digits` significant ones where that is said."""
    numbers = {"low": value.low, "likely": value.likely, "high": value.high}
    if digits is not None:
        return {key: float(f"{number:.{digits}g}") for key, number in numbers.items()}
    return {key: round(number) if whole else number for key, number in numbers.items()}


def reason_form(reason: Reason, texts: Texts) -> dict[str, Any]:
    """REASON of the contract."""
    source = reason.source
    return {
        "code": reason.code,
        "severity": str(reason.severity),
        "parameters": {
            key: list(value) if isinstance(value, tuple) else value for key, value in reason.parameters.items()
        },
        "text": texts.reason(reason),
        "source": None if source is None else {"kind": source.kind, "ref": source.ref, "checked": source.checked},
    }
