"""What an evaluation says."""

from dataclasses import dataclass

from fitserve.bench.request import EvalRequest
from fitserve.foundation.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of a task, in the unit of lm_eval (mostly a share). `chosen_by` is its filter of the answers."""

    task: str
    metric: str
    chosen_by: str
    value: float
    standard_error: float | None
    samples: int | None
    all_samples: int | None
    shots: int | None
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseScore:
    """A score of the base model, as a share. `shots` None: the setting does not say."""

    value: float
    standard_error: float
    kind: str
    """published, measured (beside a quantized copy) or given."""
    benchmark: str = ""
    setting: str | None = None
    reporter: str = ""
    source: str = ""
    shots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A score beside one of the base model. `differences`: codes of what was not alike, with their parameters."""

    score: Score
    base: BaseScore
    differences: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]

    @property
    def difference(self) -> float:
        """Points above (+) or below (-) the base model, as a share."""
        return self.score.value - self.base.value

    @property
    def verdict(self) -> str:
        """within: what 95 % of repetitions would show without a difference; else above or below."""
        errors = (self.score.standard_error or 0.0, self.base.standard_error)
        reach = 1.96 * sum(error**2 for error in errors) ** 0.5
        if abs(self.difference) <= reach:
            return "within"
        return "above" if self.difference > 0 else "below"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """An evaluation. `argv` is the command that ran, without a key."""

    request: EvalRequest
    model: str
    endpoint: str
    version: str
    argv: tuple[str, ...]
    seconds: float
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[Reason, ...] = ()
