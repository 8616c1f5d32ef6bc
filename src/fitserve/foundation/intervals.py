"""An estimate with its spread, and what it rests on."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Interval:
    """About 90 % of the cases lie between `low` and `high`; the unit stands in the name of the field that holds it."""

    low: float
    likely: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Self:
        """A figure that follows from counting."""
        return cls(value, value, value)

    @classmethod
    def around(cls, likely: float, below: float, above: float) -> Self:
        """`likely` less the relative error `below`, plus the relative error `above`."""
        return cls(likely * (1 - below), likely, likely * (1 + above))

    def contains(self, value: float, tolerance: float = 0.0) -> bool:
        """Whether `value` lies inside, give or take `tolerance`."""
        return self.low - tolerance <= value <= self.high + tolerance


def add_independent(parts: Iterable[Interval]) -> Interval:
    """The sum of parts whose errors are independent: spreads add in quadrature."""
    items = list(parts)
    # fsum: the order of the parts must not matter
    likely = math.fsum(item.likely for item in items)
    below = math.sqrt(math.fsum((item.likely - item.low) ** 2 for item in items))
    above = math.sqrt(math.fsum((item.high - item.likely) ** 2 for item in items))
    return Interval(likely - below, likely, likely + above)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a figure rests on: `kind` is exact, measured, fitted or estimated."""

    kind: str
    ref: str
