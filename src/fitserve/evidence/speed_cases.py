"""Measured speeds of one stream: from what a case states to a deployment, and its predictions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.evidence.given import format_of, kind_facts, machine_of, model_of, unanswered
from fitserve.hardware.types import Host, Machine
from fitserve.predict.stream_job import stream_facts

_OPTIONS = {
    "gpu_layers": "gpu-layers", "n_cpu_moe": "n-cpu-moe", "k_format": "cache-type-k", "v_format": "cache-type-v",
    "threads": "threads", "split_mode": "split-mode",
}  # fmt: skip
_SERVER_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCase:
    """A case as the law sees it. `depth_tokens`: tokens in the cache, on the average of a decode."""

    deployment: Deployment
    backend: str | None
    phase: str
    tokens: int
    depth_tokens: float


def stream_case(given: Mapping[str, Any], kind: str = "single_stream_speed") -> StreamCase:
    """Deployment, phase and lengths of a case. Raises Unanswered."""
    name = str(given.get("engine") or kind_facts(kind)["engine"])
    policy = stream_facts()["engines"].get(name)
    if policy is None:
        raise unanswered("engine_not_predicted", engine=name, version=str(given.get("engine_version") or "-"))
    if given.get("speculative_method"):
        raise unanswered("speculation_not_predicted", method=str(given["speculative_method"]))
    if given.get("phase") not in {"prefill", "decode"}:
        raise unanswered("given_not_usable", detail=f"phase {given.get('phase')}")
    found = model_of(given)
    machine = machine_of(given) or Machine(devices=(), host=Host())
    count = max(1, len(machine.devices))
    is_split = bool(policy["places_layers"])
    deployment = Deployment(
        model=found.model,
        machine=replace(machine, host=Host(cpu_name=given.get("cpu"))),
        engine=name,
        engine_version=str(given.get("engine_version") or ""),
        weight_format=format_of(given, found),
        kv_format=str(given.get("kv_format") or "auto").lower(),
        tp=1 if is_split else int(given.get("tp") or count // int(given.get("pp") or 1)),
        pp=count if is_split else int(given.get("pp") or 1),
        context_tokens=int(given.get("context_tokens") or found.model.max_context_tokens),
        options=MappingProxyType(_options(given, policy)),
    )
    tokens = int(given.get("tokens") or (512 if given["phase"] == "prefill" else _SERVER_TOKENS))
    depth = float(given.get("depth_tokens") or 0)
    return StreamCase(
        deployment=deployment,
        backend=_backend(given.get("backend")),
        phase=str(given["phase"]),
        tokens=tokens,
        depth_tokens=depth + (tokens / 2 if given["phase"] == "decode" else 0),
    )


def _options(given: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, str]:
    options = {option: str(given[key]).lower() for key, option in _OPTIONS.items() if given.get(key) is not None}
    if given.get("ubatch_tokens"):
        options[policy["chunk_option"]] = str(given["ubatch_tokens"])
    if given.get("flash_attention") is not None:
        options["flash-attn"] = "on" if given["flash_attention"] else "off"
    return options


def _backend(text: Any) -> str | None:
    """`ROCm 7.1.1` -> hip; None when the case does not say."""
    names = stream_facts()["backend_names"]
    word = re.split(r"[ ,]", str(text or "").lower())[0]
    return None if not word else str(names.get(word, word))
