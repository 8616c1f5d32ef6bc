"""Measured losses of weight formats, and what a row says in comparable terms."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fitserve.foundation.facts import load_json

_TASK: Final = re.compile(
    r"(recovery % .*|.*MMLU.*|.*average.*|C-Eval %|IFEval %|GSM8K|AIME2024|GPQA Diamond|MATH-500|HellaSwag|Winogrande|"
    r"winogrande acc|OpenLLM v1 average)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A published figure of a quantized model beside its baseline, both in the metric's own unit."""

    model: str
    weight_format: str
    method: str
    metric: str
    baseline: float
    value: float
    importance_matrix: str | None
    recalled: bool
    source: str
    bits_per_weight: float | None = None
    size_gib: float | None = None

    @property
    def kl_divergence(self) -> float | None:
        """Mean KL divergence in nats a token, measured, or as the growth of the logarithm of a token's perplexity.

        On Llama 3 8B the two agree within 15 % from 0.02 nats up (llama.cpp's scoreboard); below, perplexity is noise.
        """
        if self.metric.startswith("mean KL divergence"):
            return self.value - self.baseline
        if self.metric.startswith("perplexity wikitext-2"):
            return math.log(self.value / self.baseline)
        return None

    @property
    def task_loss_pct(self) -> float | None:
        """Share of a benchmark score that is lost, in percent; None for a metric that is no score."""
        if not _TASK.fullmatch(self.metric) or self.baseline == 0:
            return None
        return 100 * (1 - self.value / self.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvMeasurement:
    """A published figure with a quantized KV cache beside one with a 16-bit cache."""

    model: str
    kv_format: str
    metric: str
    baseline: float
    value: float
    context_tokens: int | None
    source: str

    @property
    def kl_divergence(self) -> float | None:
        """As of `Measurement`."""
        if self.metric == "mean KL divergence":
            return self.value - self.baseline
        return math.log(self.value / self.baseline) if self.metric == "perplexity" else None


def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = load_json("fitserve.predict.data", "format_losses.json")
    return table


@lru_cache(maxsize=1)
def measurements() -> tuple[Measurement, ...]:
    """All rows on weights."""
    table = _table()
    return tuple(Measurement(**dict(zip(table["columns"], row, strict=True))) for row in table["rows"])


@lru_cache(maxsize=1)
def kv_measurements() -> tuple[KvMeasurement, ...]:
    """All rows on the KV cache."""
    table = _table()
    return tuple(KvMeasurement(**dict(zip(table["kv_columns"], row, strict=True))) for row in table["kv"])
