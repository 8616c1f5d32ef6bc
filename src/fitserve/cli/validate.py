"""`fitserve validate`: predicted against measured."""

from typing import Any

from fitserve.render.texts import Texts


def run_validate(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve validate [FILE…]`."""
    raise SystemExit(3)
