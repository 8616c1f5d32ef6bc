"""A serving case to its deployment and load. What it does not state takes the engine's defaults."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.evidence.given import Unanswered, deployment_of, machine_of, unanswered
from fitserve.foundation.intervals import Interval
from fitserve.hardware.types import Machine
from fitserve.predict.batched import batched_speed, usual_context
from fitserve.predict.policy import batching_engines
from fitserve.predict.speculation import with_speculation
from fitserve.predict.types import Load, Speed

# TensorRT-LLM loads ModelOpt checkpoints, whose hf_quant_config.json names an FP8 cache.
_FP8_CACHE = {"fp8", "nvfp4"}
_CONVERSATIONS = ("sharegpt", "ShareGPT", "summarize", "MLPerf")
"""Data sets of real requests, whose lengths differ; the stated ones are means."""
_OPTIONS = {"gpu_memory_utilization": "gpu-memory-utilization", "max_num_batched_tokens": "max-num-batched-tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCase:
    """What a serving case comes to."""

    deployment: Deployment
    budget: MemoryBudget
    load: Load


def serving_case(given: Mapping[str, Any]) -> ServingCase:
    """Deployment, memory and load of a case. Raises Unanswered."""
    if given.get("engine") not in batching_engines():
        raise unanswered("engine_not_predicted", engine=str(given.get("engine")), version="-")
    drafts = _drafts(given)
    load = load_of(given)
    machine = machine_of(given)
    if machine is None:
        raise unanswered("gpu_not_given")
    chosen, deployment = _deployment(given, machine)
    tp, pp, dp = deployment.tp, deployment.pp, deployment.dp
    ep = min(int(given.get("ep") or 1), tp * dp)
    if dp > 1 and tp % dp == 0 and tp * pp == len(machine.devices):
        # attention runs data parallel inside of the tensor parallel group, the experts are spread over all of it
        tp, ep = tp // dp, tp
    if tp * pp * dp > len(machine.devices):
        machine = Machine(devices=machine.devices[:1] * (tp * pp * dp), host=machine.host)
    ep = tp if 1 < ep < tp else ep
    length = round(given["prompt_tokens"]) + round(given["output_tokens"])
    options = dict(deployment.options) | {option: str(given[key]) for key, option in _OPTIONS.items() if given.get(key)}
    context = int(given.get("context_tokens") or usual_context(deployment.model.max_context_tokens, length))
    if given.get("enforce_eager"):
        options["enforce-eager"] = "true"
    options |= drafts
    kv_format = deployment.kv_format
    if kv_format == "auto" and deployment.engine == "tensorrt-llm" and given.get("weight_format") in _FP8_CACHE:
        kv_format = "fp8"
    deployment = replace(
        deployment, kv_format=kv_format, machine=machine, tp=tp, ep=ep, context_tokens=context, options=options
    )
    # shares of data parallel ranks with experts of their own are alike: one rank's memory counts
    alone = replace(deployment, dp=1, ep=1) if ep > tp else deployment
    budget = chosen.budget(replace(alone, tp=tp * dp, dp=1) if ep > tp else alone)
    return ServingCase(deployment=deployment, budget=budget, load=load)


def _drafts(given: Mapping[str, Any]) -> dict[str, str]:
    """Options for the speculative decoding of a case. Raises Unanswered where the drafts or their cost are not told."""
    method, tokens = given.get("speculative_method"), given.get("num_speculative_tokens")
    if not method:
        return {}
    if not tokens or given.get("engine") != "vllm" or str(method).startswith("draft"):
        raise unanswered("speculation_not_predicted", method=str(method))
    return {"speculative-config": json.dumps({"method": str(method), "num_speculative_tokens": int(tokens)})}


def _deployment(given: Mapping[str, Any], machine: Machine) -> Any:
    """Builds between releases (nightlies) are judged as the newest one."""
    facts = dict(given)
    if facts.get("weight_format") is None:
        facts.pop("weight_format", None)
    try:
        return deployment_of(facts, "serving_speed", machine)
    except Unanswered as error:
        if error.reason.code != "engine_not_predicted":
            raise
        facts.pop("engine_version", None)
        return deployment_of(facts, "serving_speed", machine)


def load_of(given: Mapping[str, Any]) -> Load:
    """The load of a case. Raises Unanswered when lengths or the number of requests are not stated."""
    prompt, output = given.get("prompt_tokens"), given.get("output_tokens")
    if not prompt or not output:
        raise unanswered("load_not_given")
    concurrency, rate, count = given.get("concurrency"), given.get("rate_per_s"), given.get("num_prompts")
    if concurrency is None and rate in (None, "inf"):
        if count is None:
            raise unanswered("load_not_given")
        concurrency = count
    ratio = float(given.get("length_ratio") or 1)
    prompt, output = prompt * (1 + ratio) / 2, output * (1 + ratio) / 2
    return Load(
        prompt_tokens=round(prompt), output_tokens=max(1, round(output)),
        concurrent_requests=int(concurrency) if concurrency else None,
        rate_per_s=float(rate) if rate not in (None, "inf") else None,
        request_count=int(count) if count else None,
        has_equal_lengths=ratio == 1 and not str(given.get("dataset")).startswith(_CONVERSATIONS),
    )  # fmt: skip


def speed_figures(speed: Speed, load: Load) -> dict[str, Interval]:
    """Metrics of a case by name."""
    total = (load.prompt_tokens + load.output_tokens) / load.output_tokens
    rate = speed.output_tok_per_s
    figures = {
        "ttft_ms.mean": _milli(speed.ttft_s),
        "inter_token_ms.mean": _milli(speed.inter_token_s),
        "output_tok_per_s": rate,
        "total_tok_per_s": Interval(rate.low * total, rate.likely * total, rate.high * total),
    }
    for name, value in speed.ttft_percentiles_s:
        figures[f"ttft_ms.{name}"] = _milli(value)
    for name, value in speed.inter_token_percentiles_s:
        figures[f"inter_token_ms.{name}"] = _milli(value)
    return figures


def _milli(value: Interval) -> Interval:
    return Interval(value.low * 1e3, value.likely * 1e3, value.high * 1e3)


def serving_speed(given: Mapping[str, Any]) -> dict[str, Interval]:
    """Predictions of a serving case. Raises Unanswered, FactMissing."""
    case = serving_case(given)
    speed = batched_speed(case.deployment, case.budget, case.load)
    return speed_figures(with_speculation(speed, case.deployment, case.budget, case.load), case.load)
