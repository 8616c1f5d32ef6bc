"""One candidate judged: all reasons of its engine, the memory budget, the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, Severity, Verdict, note, unknown, verdict_of
from fitserve.hardware.types import Machine
from fitserve.models.formats import WeightFormat, gguf_base_type
from fitserve.models.types import LanguageModel
from fitserve.predict.types import Speed

if TYPE_CHECKING:
    from fitserve.predict.serving import Served

_ORDER = {Severity.BLOCKER: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A deployment with its verdict. `budget` is None when its engine has none for this machine."""

    deployment: Deployment
    verdict: Verdict
    reasons: tuple[Reason, ...]
    budget: MemoryBudget | None
    needs_quantizing: bool = False
    fixes: tuple["Fix", ...] = ()
    variants: tuple["Fix", ...] = ()
    """Other settings of the same plan that win on some axis."""
    speed: Speed | None = None
    misses_target: bool = False
    """Whether its likely speed is below what was asked for, or unknown where something was."""
    served: "Served | None" = None
    """Its workload, simulated; only where that was asked for."""
    users_within_targets: int | None = None
    is_on_front: bool | None = None
    """Whether no other plan of the answer beats it in speed, quality and number of GPUs; None where nothing was compared."""

    @property
    def fits(self) -> bool:
        """Whether the engine starts and serves one request of the full context."""
        return self.verdict is Verdict.FITS

    def has(self, code: str) -> bool:
        """Whether a reason with this code is among the reasons."""
        return any(reason.code == code for reason in self.reasons)

    @property
    def is_accelerated(self) -> bool:
        """Whether the devices compute in this format, instead of only storing it."""
        return not any(reason.code.endswith("_not_accelerated") for reason in self.reasons)

    @property
    def is_memory_only(self) -> bool:
        """Whether memory is the only thing in the way."""
        return self.verdict is Verdict.DOES_NOT_FIT

    @property
    def headroom_tokens(self) -> float:
        """Tokens that the cache could hold, for requests of this context or for a single longer one."""
        if self.budget is None:
            return 0.0
        kv = self.budget.kv
        return max(kv.capacity_tokens, kv.max_context_tokens * max(1.0, float(self.deployment.concurrent_requests)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A change along one knob that makes it fit, recomputed; `instead_of` is what it replaces."""

    knob: str
    change: Mapping[str, str | int]
    result: Evaluated
    instead_of: str | int | None = None
    wins: tuple[str, ...] = ()
    """Of a variant of a plan: where it is better (search/variants.py)."""


def evaluate(deployment: Deployment, needs_quantizing: bool = False) -> Evaluated:
    """All reasons at once; a fact that is missing makes the verdict UNKNOWN, never a guess."""
    chosen = engine(deployment.engine)
    reasons = list(chosen.blockers(deployment))
    if needs_quantizing:
        reasons.append(note("no_published_checkpoint", format=deployment.weight_format.name, model=deployment.model.id))
    budget = None
    if deployment.machine.devices or not chosen.needs_accelerator:
        try:
            budget = chosen.budget(deployment)
        except FactMissing as missing:
            if verdict_of(tuple(reasons)) is not Verdict.NOT_SUPPORTED:
                reasons.append(unknown("fact_missing", fact=missing.fact, where=missing.where))
    if budget is not None:
        reasons += _worst_of_each(budget.reasons)
    reasons.sort(key=lambda reason: _ORDER[reason.severity])
    return Evaluated(
        deployment=deployment,
        verdict=verdict_of(tuple(reasons)),
        reasons=tuple(reasons),
        budget=budget,
        needs_quantizing=needs_quantizing,
    )


def _worst_of_each(reasons: tuple[Reason, ...]) -> list[Reason]:
    """One reason a code: several devices may lack memory, the one that lacks most is shown."""

    def lack(reason: Reason) -> float:
        need, have = reason.parameters.get("need_bytes"), reason.parameters.get("have_bytes")
        return float(need) - float(have) if isinstance(need, int | float) and isinstance(have, int | float) else 0.0

    worst: dict[str, Reason] = {}
    for reason in reasons:
        if reason.code not in worst or lack(reason) > lack(worst[reason.code]):
            worst[reason.code] = reason
    return list(worst.values())


@dataclass(slots=True)
class Evaluator:
    """Judges deployments, each once."""

    known: dict[tuple[object, ...], Evaluated] = field(default_factory=dict)

    def __call__(self, deployment: Deployment, needs_quantizing: bool = False) -> Evaluated:
        """The judgement of a deployment."""
        key = (
            deployment.model,
            deployment.engine,
            deployment.engine_version,
            deployment.weight_format.name,
            deployment.repository,
            deployment.kv_format,
            deployment.tp,
            deployment.pp,
            deployment.ep,
            deployment.dp,
            deployment.context_tokens,
            deployment.concurrent_requests,
            deployment.max_num_seqs,
            deployment.offload_layers,
            deployment.machine.counts,
            tuple(deployment.options.items()),
        )
        if key not in self.known:
            self.known[key] = evaluate(deployment, needs_quantizing)
        return self.known[key]


@lru_cache(maxsize=1)
def quality_classes() -> tuple[tuple[str, float], ...]:
    """(name, fewest bits per weight), best first."""
    return tuple(
        (row["name"], row["minimum_bits"]) for row in load_toml("fitserve.search", "quality_classes.toml")["classes"]
    )


def quality_class(model: LanguageModel, weight_format: WeightFormat) -> int:
    """Position in `quality_classes`: 0 for the weights as they were released, 1 where most of them stay so."""
    own = model.checkpoint.weight_format if model.checkpoint is not None and model.base_id is None else None
    bits = weight_format.effective_bits()
    if own == weight_format.name and weight_format.family != "gguf":
        return 0
    if own is not None and weight_format.gguf_mix and own.upper() == gguf_base_type(weight_format.gguf_mix):
        return 1
    return next(index for index, (_, minimum) in enumerate(quality_classes()) if bits >= minimum)


_LEAST_SHARE = 0.8
"""No file is smaller than this share of parameters x bits: types differ by tensor, and a name's bits are a mean."""


def weights_may_fit(model: LanguageModel, weight_format: WeightFormat, machine: Machine) -> bool:
    """False where the weights alone are beyond the memory of all devices, so that judging the candidate is idle."""
    memory = sum(device.memory_bytes for device in machine.devices)
    return _LEAST_SHARE * model.params("text") * weight_format.effective_bits() / 8 <= memory
