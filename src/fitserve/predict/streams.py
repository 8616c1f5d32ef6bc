"""Speed of one stream, and of a few, on the machines that people own: llama.cpp and what runs it, MLX, ExLlama.

The law is in stream_terms.py, its coefficients and the spread of held-out errors in data/streams.json (written by
tools/fit_streams.py from measured cases).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_json
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, note, warning
from fitserve.hardware.processors import MEASURED
from fitserve.predict.stream_job import StreamJob, stream_facts, stream_job
from fitserve.predict.stream_terms import Term, decode_terms, prefill_terms, total_s
from fitserve.predict.types import Load, Speed

_DATA = "src/fitserve/predict/data/streams.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRates:
    """Tokens a second of one sequence: reading its prompt, and writing behind it."""

    prefill_tok_per_s: Interval
    decode_tok_per_s: Interval
    basis: tuple[Basis, ...] = ()
    reasons: tuple[Reason, ...] = ()


def _data() -> Mapping[str, Any]:
    found: Mapping[str, Any] = load_json("fitserve.predict.data", "streams.json")
    return found


def is_predicted(engine_id: str) -> bool:
    """Whether streams of an engine have a law."""
    return engine_id in stream_facts()["engines"]


def stream_rates(
    deployment: Deployment, prompt_tokens: int, depth_tokens: float, backend: str | None = None
) -> StreamRates:
    """Rates of a stream: a prompt of `prompt_tokens` read behind nothing, a token written behind `depth_tokens`.

    `backend`: cuda, hip, vulkan, metal, sycl or cpu, where it is not the vendor's own path. Raises FactMissing for an
    engine without a law, a device without rates or measurements of its backend, a processor that is not known.
    """
    job = stream_job(deployment, backend)
    return StreamRates(
        prefill_tok_per_s=prefill_rate(job, max(1, prompt_tokens), 0),
        decode_tok_per_s=decode_rate(job, depth_tokens),
        basis=(_basis(job, "decode"),),
        reasons=_reasons(job, deployment),
    )


def prefill_rate(job: StreamJob, tokens: int, depth_tokens: float) -> Interval:
    """Tokens of a prompt a second, behind `depth_tokens` that are in the cache."""
    return _rate(tokens, prefill_s(job, tokens, depth_tokens))


def decode_rate(job: StreamJob, depth_tokens: float) -> Interval:
    """Tokens written a second by a single sequence that is `depth_tokens` long."""
    return _rate(1, decode_s(job, depth_tokens))


def _rate(tokens: float, seconds: Interval) -> Interval:
    return Interval(tokens / seconds.high, tokens / seconds.likely, tokens / seconds.low)


def prefill_s(job: StreamJob, tokens: float, depth_tokens: float) -> Interval:
    """Seconds to read `tokens` of a prompt."""
    return _spread(job, "prefill", prefill_terms(job, tokens, depth_tokens), 1)


def decode_s(job: StreamJob, depth_tokens: float, streams: int = 1) -> Interval:
    """Seconds of a step that makes one token for each of `streams` sequences; never less than the bytes take."""
    return _spread(job, "decode", decode_terms(job, depth_tokens, streams), streams)


def _spread(job: StreamJob, phase: str, terms: tuple[Term, ...], streams: int) -> Interval:
    data = _data()
    likely = total_s(terms, data["coefficients"])
    low, high = _errors(data, job, phase, streams)
    if phase == "decode" and streams == 1:
        floor = sum(term.base_s for term in terms if term.keys[0] in {"read", "cache", "host"})
        likely = max(likely, floor)
        return Interval(max(floor, likely * low), likely, likely * high)
    return Interval(likely * low, likely, likely * high)


def level_of(job: StreamJob, data: Mapping[str, Any]) -> str:
    """How near the measurements are: the device's own (`gpu`), its family's, its backend's; of processors likewise."""
    known = data["known"]
    if not job.devices:
        if job.host is not None and job.host.id in known["processors"]:
            return "host"
        return "host_other"
    if job.host_layers or job.host_experts:
        return "mixed"
    if all(device.id in known["devices"] for device in job.devices):
        return "gpu"
    if all(device.family in known["families"] for device in job.devices):
        return "family"
    if job.backend in known["backends"]:
        return "backend"
    raise FactMissing(f"measured speeds of the path {job.backend}", _DATA)


def group_of(job: StreamJob) -> str:
    """Engines whose errors are of one size: those that take GGUF files by their path of the code, the others by name."""
    return job.backend if stream_facts()["engines"][job.engine]["places_layers"] else "other"


def _errors(data: Mapping[str, Any], job: StreamJob, phase: str, streams: int) -> tuple[float, float]:
    """Measured over predicted time, 5 and 95 of 100 held-out cases."""
    table = data["errors"][phase]
    level = level_of(job, data)
    row = table.get(f"{level}/{group_of(job)}") or table.get(level) or table["backend"]
    low, high = row["low"], row["high"]
    if streams > 1:
        low, high = low * 0.85, high * 1.15
    return low, high


def _basis(job: StreamJob, phase: str) -> Basis:
    data = _data()
    level = level_of(job, data)
    name = job.devices[0].id if job.devices else (job.host.id if job.host else "")
    row = data["errors"][phase].get(level) or data["errors"][phase]["backend"]
    cases = data["known"]["devices"].get(name) or data["known"]["processors"].get(name) or 0
    kind = "fitted" if level in {"gpu", "host"} else "estimated"
    return Basis(
        kind, f"predict/data/streams.json: {cases} cases of {name}; held-out {phase} error {row['median_pct']:.0f} %"
    )


def _reasons(job: StreamJob, deployment: Deployment) -> tuple[Reason, ...]:
    """What the rates rest on that a user should know."""
    found: list[Reason] = []
    level = level_of(job, _data())
    if level in {"family", "backend"}:
        known = _data()["known"]["devices"]
        unmeasured = tuple(dict.fromkeys(device.id for device in job.devices if device.id not in known))
        found.append(note("speed_without_measurements", gpu=", ".join(unmeasured), family=job.devices[0].family))
    if level == "host_other" and job.host is not None:
        by_measured_memory = note("speed_from_measured_memory", gb_per_s=round(job.host.bandwidth_bytes_per_s / 1e9))
        other = note("speed_without_measurements", gpu=job.host.id, family="cpu")
        found.append(by_measured_memory if job.host.id == MEASURED else other)
    if (job.host_layers or job.host_experts) and job.host is None:
        rate = stream_facts()["assumptions"]["host_bandwidth"]["value"]
        found.append(warning("speed_ram_assumed", gb_per_s=round(rate / 1e9)))
    if not job.tensor_parallel and len(job.devices) > 1:
        found.append(note("speed_layers_in_turn", count=len(job.devices)))
    return tuple(found)


def stream_speed(deployment: Deployment, budget: MemoryBudget | None, load: Load, backend: str | None = None) -> Speed:
    """Speed of a server of these engines under a load.

    Sequences up to the number of slots decode together; prompts are read between the steps, and what has no slot waits.
    `budget`: limits the sequences at once to what its cache holds. Raises FactMissing as stream_rates does.
    """
    job = stream_job(deployment, backend)
    asked = _asked(job, load)
    slots = _slots(deployment, budget, asked)
    depth = load.prompt_tokens + load.output_tokens / 2
    prompt = prefill_s(job, max(1, load.prompt_tokens), 0)
    step = decode_s(job, depth, slots)
    made = max(1, load.output_tokens - 1)
    # while a sequence writes, each of the other slots reads one new prompt
    gap = _scaled_sum(step, prompt, (slots - 1) / made)
    busy = _scaled_sum(_scaled(gap, made), prompt, 1)
    waiting = max(0.0, (asked - slots) / slots)
    first = _scaled_sum(_scaled(prompt, (slots + 1) / 2), busy, waiting)
    total = Interval(*(slots * load.output_tokens / x for x in (busy.high, busy.likely, busy.low)))
    wait_s = round(busy.likely * waiting, 2)
    queue = (warning("speed_queueing", asked=asked, at_once=slots, wait_s=wait_s),) if asked > slots else ()
    return Speed(
        ttft_s=first,
        inter_token_s=gap,
        output_tok_per_s=total,
        prefill_tok_per_s=_rate(max(1, load.prompt_tokens), prompt),
        basis=(_basis(job, "decode"), _basis(job, "prefill")),
        reasons=(*_reasons(job, deployment), *queue),
        is_queued=asked > slots,
    )


def _scaled(value: Interval, factor: float) -> Interval:
    return Interval(value.low * factor, value.likely * factor, value.high * factor)


def _scaled_sum(first: Interval, second: Interval, factor: float) -> Interval:
    return Interval(
        first.low + second.low * factor, first.likely + second.likely * factor, first.high + second.high * factor
    )


def _asked(job: StreamJob, load: Load) -> int:
    """Requests at once; of arrivals a second, how many are in the system on the average (Little's law)."""
    if load.concurrent_requests is not None:
        return max(1, load.concurrent_requests)
    if load.rate_per_s is None or not math.isfinite(load.rate_per_s):
        return max(1, load.request_count or 1)
    alone = prefill_s(job, max(1, load.prompt_tokens), 0).likely
    alone += load.output_tokens * decode_s(job, load.prompt_tokens + load.output_tokens / 2).likely
    return max(1, round(load.rate_per_s * alone))


def _slots(deployment: Deployment, budget: MemoryBudget | None, asked: int) -> int:
    """Sequences that decode together."""
    policy = stream_facts()["engines"][deployment.engine]
    stated = deployment.options.get("parallel") or deployment.max_num_seqs or (budget.max_num_seqs if budget else None)
    limit = int(stated) if stated and int(stated) > 0 else policy.get("slots", asked)
    if budget is not None and budget.kv.max_concurrency >= 1:
        limit = min(limit, int(budget.kv.max_concurrency))
    return max(1, min(asked, limit))
