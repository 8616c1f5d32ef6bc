"""What a verification finds: the engine's figures beside the budget's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason

EXACT_SHARE = 0.005
COMPUTE_SHARE = 0.10
"""How far a prediction may be from the engine's figure: weights, cache, states and output; compute buffers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure. `unit`: bytes, tokens or count; `plus_minus` is half of what the engine's print leaves open."""

    code: str
    predicted: Interval
    engine: float
    unit: str = "bytes"
    plus_minus: float = 0.0
    share: float = EXACT_SHARE

    @property
    def error_pct(self) -> float | None:
        """Prediction against the engine in percent, from the rounding of its print on; None where the engine has nothing."""
        off = self.predicted.likely - self.engine
        beyond = max(0.0, abs(off) - self.plus_minus)
        if beyond == 0:
            return 0.0
        return None if self.engine == 0 else 100 * (beyond if off > 0 else -beyond) / self.engine

    @property
    def agrees(self) -> bool:
        """Whether it is within the share."""
        off = abs(self.predicted.likely - self.engine)
        return off <= self.plus_minus + self.share * self.engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """An engine's answer for a deployment. `asked` says what was loaded, `case` is the result as a measured case."""

    deployment: Deployment
    lines: tuple[Line, ...]
    seconds: float
    notes: tuple[Reason, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    case: Mapping[str, Any] | None = None
    blocked: tuple[Reason, ...] = ()
    """Why the engine could not even start such a deployment; nothing was asked then."""

    @property
    def agrees(self) -> bool:
        """Whether there is an answer and every line of it agrees."""
        return bool(self.lines) and all(line.agrees for line in self.lines)
