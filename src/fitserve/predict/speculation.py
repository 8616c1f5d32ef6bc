"""Speculative decoding as a stated factor: what it gains follows from how many drafts are accepted, which no model can know.

With k drafts, each accepted with chance a if those before it were, a step makes (1 - a^(k+1)) / (1 - a) tokens (Leviathan
et al. 2023, arXiv:2211.17192, equation 1). The step verifies k + 1 tokens of every sequence and pays for the drafts. The
acceptance is what the user states, else an assumption by method with a wide interval; nothing else is fitted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, Source, note, warning
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.formats import parse_format
from fitserve.predict.scheduling import StepTimes
from fitserve.predict.serving import StreamSteps, server_of
from fitserve.predict.types import Load, Speed
from fitserve.predict.work import matrices

_WHERE = "predict/speculation.toml"
_OFF = {"", "none", "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """How a server drafts. `verified_tokens` of a sequence go through the model beside its own; `draft` makes them
    (nothing, layer, model); `acceptance`: chance that a draft is accepted, if those before it were."""

    method: str
    draft: str
    draft_tokens: int
    verified_tokens: int
    acceptance: Interval
    is_stated: bool
    draft_model: str | None
    source: Source


def expected_tokens(acceptance: float, draft_tokens: int) -> float:
    """Tokens that a step makes on average: 1 without accepted drafts, all drafts and one more where all are."""
    return float(sum(acceptance**count for count in range(draft_tokens + 1)))


def is_drafting(deployment: Deployment) -> bool:
    """Whether the options ask for speculative decoding."""
    return bool(_told(deployment)) if deployment.options else False


def speculation_of(deployment: Deployment, acceptance: float | None) -> Speculation | None:
    """What the options say about drafts; None where they ask for none.

    Raises FactMissing where the number of drafts is not given, or the method has no known acceptance.
    """
    told = _told(deployment)
    if not told:
        return None
    row = _method(told["method"])
    if row is None:
        raise FactMissing(f"how the drafts are made: {told['method']}", _WHERE)
    if not told["tokens"].isdigit() or int(told["tokens"]) < 1:
        raise FactMissing("how many tokens are drafted at once", "--set")
    drafts = int(told["tokens"])
    assumed = Interval(row["low"], row["likely"], row["high"])
    return Speculation(
        method=told["method"], draft=row["draft"], draft_tokens=drafts,
        verified_tokens=max(drafts, int(told["tree"]) - 1 if told["tree"].isdigit() else 0),
        acceptance=assumed if acceptance is None else Interval.exact(acceptance),
        is_stated=acceptance is not None, draft_model=told["model"] or None, source=Source(**row["source"]),
    )  # fmt: skip


def _method(name: str) -> Mapping[str, Any] | None:
    """The row whose beginning fits best: eagle3 before eagle."""
    found: list[Mapping[str, Any]] = load_toml("fitserve.predict", "speculation.toml")["methods"]
    fitting = [(len(start), row) for row in found for start in row["starts"] if name.lower().startswith(start)]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _told(deployment: Deployment) -> Mapping[str, str]:
    """Method, tokens, model and tree as the options give them; empty without drafts."""
    table = load_toml("fitserve.predict", "speculation.toml")["engines"]
    row = next((item for item in table if item["engine"] == deployment.engine), None)
    if row is None:
        return {}
    values: Mapping[str, Any] = deployment.options
    if "config" in row:
        try:
            given = json.loads(deployment.options.get(row["config"], "null"))
        except ValueError:
            return {}
        values = given if isinstance(given, dict) else {}

    def first(names: list[str]) -> str:
        return next((str(values[name]) for name in names if values.get(name) is not None), "")

    model, method = first(row["model"]), first(row["method"])
    method = method or (row.get("method_is", "") if model else "")
    if method.lower() in _OFF:
        return {}
    tokens, tree = first(row["tokens"]), first(row.get("more_tokens", []))
    if not tokens and tree.isdigit():
        tokens = str(int(tree) - 1)
    return {"method": method, "model": model, "tokens": tokens, "tree": tree if "tree" in row else ""}


def with_speculation(speed: Speed, deployment: Deployment, budget: MemoryBudget, load: Load) -> Speed:
    """A speed without drafts, with those that the options ask for. Raises FactMissing where too little is known."""
    found = speculation_of(deployment, load.draft_acceptance)
    if found is None:
        return speed
    steps, policy = server_of(deployment, budget, load)
    context = load.prompt_tokens + load.output_tokens / 2
    batch = min(float(policy.max_num_seqs), _at_once(speed, load) / deployment.dp)
    if policy.kv_tokens is not None:
        batch = min(batch, policy.kv_tokens / context)
    batch = max(1.0, batch)
    plain = steps.decode_s(batch, batch * context)
    drafting = found.draft_tokens * _draft_s(found, deployment, budget, load, batch, context, plain)
    cost = (_verify_s(steps, batch, context, found.verified_tokens) + drafting) / plain
    chances = (found.acceptance.high, found.acceptance.likely, found.acceptance.low)
    factors = [cost / expected_tokens(chance, found.draft_tokens) for chance in chances]
    return _changed(speed, load, found, Interval(*factors))


def _at_once(speed: Speed, load: Load) -> float:
    """Requests that run together; of arrivals, by Little's law."""
    if load.rate_per_s is None:
        return float(load.concurrent_requests or 1)
    return load.rate_per_s * (speed.ttft_s.likely + speed.inter_token_s.likely * load.output_tokens)


def _verify_s(steps: StepTimes, batch: float, context: float, drafts: int) -> float:
    """A step over the last token and the drafts of every sequence; its cache is read once."""
    if isinstance(steps, StreamSteps):
        tokens = batch * (drafts + 1)
        return steps.decode_s(tokens, batch * context)
    return steps.mixed_s(batch, batch * context, batch * drafts, 0.0)


def _draft_s(
    found: Speculation, deployment: Deployment, budget: MemoryBudget, load: Load, batch: float, context: float, plain: float
) -> float:  # fmt: skip
    """Seconds of one draft token of all sequences."""
    if found.draft == "nothing":
        return 0.0
    if found.draft == "layer":
        parts = matrices(deployment.model, deployment.weight_format, deployment.tp, deployment.ep)
        head = sum(item.bytes for item in parts if item.is_head)
        body = sum(item.bytes * item.count for item in parts if not item.is_head)
        return plain * (head + body / len(deployment.model.layers)) / (head + body)
    if found.draft_model not in rows():
        raise FactMissing(f"the draft model {found.draft_model or '-'}", "models/catalog/models.json")
    model = catalog_model(found.draft_model)
    own = model.checkpoint.weight_format if model.checkpoint is not None else None
    is_mix = deployment.weight_format.gguf_mix is not None
    made = deployment.weight_format if is_mix else parse_format(own or "bf16")
    steps, _ = server_of(replace(deployment, model=model, weight_format=made, ep=1), budget, load)
    return steps.decode_s(batch, batch * context)


def _changed(speed: Speed, load: Load, found: Speculation, factors: Interval) -> Speed:
    """The gaps times the factors, and the throughput that follows where users wait for answers."""
    gap, first = speed.inter_token_s, speed.ttft_s.likely
    after = gap.likely * max(0, load.output_tokens - 1)

    def gain(factor: float) -> float:
        return (
            1.0 if load.rate_per_s is not None and not speed.is_queued else (first + after) / (first + after * factor)
        )

    rate, gains = speed.output_tok_per_s, Interval(gain(factors.high), gain(factors.likely), gain(factors.low))
    percentiles = tuple((name, _times(value, factors)) for name, value in speed.inter_token_percentiles_s)
    basis = Basis("stated" if found.is_stated else "assumed", f"acceptance of drafts: {found.source.ref}")
    return replace(
        speed,
        inter_token_s=_times(gap, factors),
        output_tok_per_s=_times(rate, gains),
        inter_token_percentiles_s=percentiles,
        basis=(*speed.basis, basis),
        reasons=(*speed.reasons, *_reasons(found)),
    )  # fmt: skip


def _times(value: Interval, factors: Interval) -> Interval:
    return Interval(value.low * factors.low, value.likely * factors.likely, value.high * factors.high)


def _reasons(found: Speculation) -> tuple[Reason, ...]:
    chance, drafts, percent = found.acceptance, found.draft_tokens, round(100 * found.acceptance.likely)
    made = round(expected_tokens(chance.likely, drafts), 2)
    if found.is_stated:
        counted = note("speculation_stated", method=found.method, drafts=drafts, percent=percent, made=made)
    else:
        counted = warning(
            "speculation_assumed", found.source, method=found.method, drafts=drafts, percent=percent, made=made,
            low=round(100 * chance.low), high=round(100 * chance.high),
        )  # fmt: skip
    return (counted,) if found.draft == "nothing" else (counted, note("speculation_memory", method=found.method))
