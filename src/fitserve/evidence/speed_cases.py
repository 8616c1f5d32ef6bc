"""Measured speeds of one stream: from what a case states to a deployment, and its predictions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.evidence.given import format_of, kind_facts, machine_of, model_of, unanswered
from fitserve.foundation.intervals import Interval
from fitserve.hardware.types import Host, Machine
from fitserve.predict.stream_job import StreamJob, stream_facts, stream_job
from fitserve.predict.streams import decode_rate, decode_s, prefill_rate, prefill_s, stream_speed
from fitserve.predict.types import Load

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


def stream_predictions(given: Mapping[str, Any]) -> Mapping[str, Interval]:
    """Tokens a second of a phase of one stream. Raises Unanswered, FactMissing."""
    made = stream_case(given)
    job = stream_job(made.deployment, made.backend)
    if made.phase == "prefill":
        return {"tok_per_s": prefill_rate(job, made.tokens, made.depth_tokens)}
    return {"tok_per_s": decode_rate(job, made.depth_tokens)}


def takes_streams(given: Mapping[str, Any]) -> bool:
    """Whether a served case is of an engine with slots, which the law of streams covers."""
    policy = stream_facts()["engines"].get(str(given.get("engine")), {})
    return "slots" in policy


def slot_predictions(given: Mapping[str, Any]) -> Mapping[str, Interval]:
    """Figures of a server with slots under a load; a bench that reads all prompts first has no queue.

    Raises Unanswered, FactMissing.
    """
    if not given.get("prompt_tokens") or not given.get("output_tokens"):
        raise unanswered("given_not_usable", detail="prompt_tokens, output_tokens")
    lengths = {"phase": "decode", "tokens": given["output_tokens"], "depth_tokens": given["prompt_tokens"]}
    made = stream_case({**given, **lengths}, "serving_speed")
    streams = int(given.get("concurrency") or given.get("num_prompts") or 1)
    prompt, output = int(given["prompt_tokens"]), int(given["output_tokens"])
    if given.get("dataset") == "llama-batched-bench":
        return _batched_bench(stream_job(made.deployment, made.backend), streams, prompt, output)
    slots = int(given.get("max_num_seqs") or kind_facts("single_stream_speed")["slots_when_not_stated"])
    load = Load(prompt_tokens=prompt, output_tokens=output, concurrent_requests=streams)
    speed = stream_speed(replace(made.deployment, max_num_seqs=slots), None, load, made.backend)
    first, gap = (_times(value, 1000) for value in (speed.ttft_s, speed.inter_token_s))
    total = _times(speed.output_tok_per_s, (prompt + output) / output)
    figures = {"output_tok_per_s": speed.output_tok_per_s, "total_tok_per_s": total}
    return figures | {
        f"{name}.{kind}": value
        for name, value in (("ttft_ms", first), ("inter_token_ms", gap))
        for kind in ("mean", "p50")
    }


def _batched_bench(job: StreamJob, streams: int, prompt: int, output: int) -> Mapping[str, Interval]:
    step, read = decode_s(job, prompt + output / 2, streams), prefill_s(job, prompt, 0)
    whole = Interval(*(streams * x + output * y for x, y in zip(_ends(read), _ends(step), strict=True)))
    return {
        "inter_token_ms.mean": _times(step, 1000),
        "decode_tok_per_s": _inverse(step, streams),
        "prefill_tok_per_s": _inverse(read, prompt),
        "total_tok_per_s": _inverse(whole, streams * (prompt + output)),
        "output_tok_per_s": _inverse(whole, streams * output),
    }


def _ends(value: Interval) -> tuple[float, float, float]:
    return value.low, value.likely, value.high


def _times(value: Interval, factor: float) -> Interval:
    return Interval(value.low * factor, value.likely * factor, value.high * factor)


def _inverse(seconds: Interval, amount: float) -> Interval:
    return Interval(amount / seconds.high, amount / seconds.likely, amount / seconds.low)
