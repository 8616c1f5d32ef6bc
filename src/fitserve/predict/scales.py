"""Fitted scales of a deployment's steps: which coefficients apply, and their products.

Every scale is the exponential of a sum of named coefficients: one for all, and deviations by engine, by dense or experts, by
weight format, by the kind of attention, by GPU generation where no kernel tables are its own. predict/data/speed.json
holds them (written by tools/fit_speed.py); a name that is not in the file counts as zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.foundation.facts import load_json
from fitserve.foundation.versions import parse_version
from fitserve.models.types import LanguageModel, LatentAttention, LinearAttention, StateSpace
from fitserve.predict.gpu_rates import GpuRates
from fitserve.predict.policy import policy_of
from fitserve.predict.step import PARTS, Parts

_BY_ENGINE = {"layers", "step", "dense_excess", "experts_excess", "collectives"}
_BY_FORMAT = {"dense_excess", "experts_excess"}
FIRST_TOKEN = ("base", "step", "own", "burst", "queue", "layer", "bunch", "wave")
"""Terms of the time to first token: front end, the running step, one's own prefill, prefills of a burst, prefills that
arrive at the same time, launches of a layer that no graph covers, prefills of users who ended together, of a wave."""

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Names of the coefficients of every scale: of PARTS while decoding and while prefilling, of what a prefill adds to
    the steps of others, in waves and else, of gaps while the cache is full (sequences are stopped and computed again),
    of FIRST_TOKEN."""

    decode: tuple[Names, ...]
    prefill: tuple[Names, ...]
    interference: Names
    wave: Names
    preemption: Names
    first_token: tuple[Names, ...]


def attention_kind(model: LanguageModel) -> str:
    """latent, linear (some layers keep a state instead of a cache) or plain."""
    mixers = [mixer for layer in model.layers for mixer in layer.mixers]
    if any(isinstance(mixer, LatentAttention) for mixer in mixers):
        return "latent"
    return "linear" if any(isinstance(mixer, LinearAttention | StateSpace) for mixer in mixers) else "plain"


def is_synchronous(deployment: Deployment) -> bool:
    """Whether the release prepares a step only after the one before has ended."""
    before = policy_of(deployment.engine).get("synchronous_before")
    return before is not None and parse_version(deployment.engine_version) < parse_version(before)


def runs_eager(deployment: Deployment) -> bool:
    """Whether CUDA graphs are switched off."""
    options = deployment.options
    return any(
        options.get(name, "false").lower() not in {"false", "0"} for name in ("enforce-eager", "disable-cuda-graph")
    )


def _prefill_names(part: str, engine: str, body: str) -> Names:
    if part == "launch":
        return f"prefill.{part}", f"prefill.{part}.{body}", f"prefill.{part}.{body}.{engine}"
    return (f"prefill.{part}",)


def terms_of(deployment: Deployment, gpu: GpuRates) -> Terms:
    """The coefficients that apply to a deployment."""
    engine, name = deployment.engine, deployment.weight_format.name
    body = "experts" if any(layer.experts for layer in deployment.model.layers) else "dense"
    kind = attention_kind(deployment.model)
    is_measured = gpu.sets_scales
    family: Names = () if is_measured else (f"decode.family.{gpu.family}",)
    prefill_family: Names = () if is_measured else (f"prefill.family.{gpu.family}",)
    is_old = is_synchronous(deployment)
    decode = []
    for part in PARTS:
        names = [f"decode.{part}"]
        names += [f"decode.{part}.{engine}"] if part in _BY_ENGINE else []
        names += [f"decode.{part}.{name}"] if part in _BY_FORMAT else []
        names += [f"decode.{part}.{body}"] if part == "layers" else []
        names += [f"decode.{part}.eager"] if part == "layers" and runs_eager(deployment) else []
        names += [f"decode.{part}.{engine}.synchronous"] if part == "requests" and is_old else []
        names += [f"decode.{part}.{kind}"] if part == "attention_excess" else []
        decode.append((*names, *family))
    return Terms(
        decode=tuple(decode),
        prefill=tuple((*_prefill_names(part, engine, body), *prefill_family) for part in PARTS),
        interference=("interference", f"interference.{engine}"),
        wave=("wave",),
        preemption=("preemption", f"preemption.{engine}"),
        first_token=tuple(
            (f"first.{term}",) if term == "wave" else (f"first.{term}", f"first.{term}.{engine}")
            for term in FIRST_TOKEN
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Factors of a deployment."""

    decode: Parts
    prefill: Parts
    interference: float
    wave: float
    preemption: float
    first_token: tuple[float, ...]


def scales_of(terms: Terms, coefficients: Mapping[str, float]) -> Scales:
    """The products. Reading weights is never taken for faster than the memory's rate."""

    def factor(names: Names) -> float:
        return math.exp(sum(coefficients.get(name, 0.0) for name in names))

    decode = [factor(names) for names in terms.decode]
    decode[0] = max(1.0, decode[0])
    return Scales(
        decode=tuple(decode),
        prefill=tuple(factor(names) for names in terms.prefill),
        interference=factor(terms.interference),
        wave=factor(terms.wave),
        preemption=factor(terms.preemption),
        first_token=tuple(factor(names) for names in terms.first_token),
    )


@lru_cache(maxsize=1)
def speed_data() -> Mapping[str, Any]:
    """predict/data/speed.json."""
    found: Mapping[str, Any] = load_json("fitserve.predict", "data/speed.json")
    return found


def coefficients() -> Mapping[str, float]:
    """Fitted coefficients by name."""
    found: Mapping[str, float] = speed_data()["coefficients"]
    return found
