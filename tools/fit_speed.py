"""Fits the scales of the step model of batching engines, and the width of its intervals, from measured serving cases.

    python tools/fit_speed.py EVIDENCE           write src/fitserve/predict/data/speed.json, print the held-out errors
    python tools/fit_speed.py EVIDENCE --check   exit 1 when a new fit differs from the file

EVIDENCE is a folder with serving_speed*.json. Cases without doubt of batching engines; those of the marketing document are
never among them. Errors are held out by (model, GPU). Steady closed loops are fitted; bursts, queues and Poisson arrivals
are predicted with the same scales, and corrected by the median of the other groups' errors.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fitserve.evidence.cases import Case, cases_of
from fitserve.evidence.given import Unanswered
from fitserve.evidence.speed import ServingCase, serving_case
from fitserve.foundation.errors import FitserveError
from fitserve.predict.batched import (
    CROWDED,
    Figures,
    Room,
    added_share,
    band_keys,
    chunks_of,
    figures_of,
    is_cache_full,
    packed,
    prompts_met,
    room_of,
    steps_a_prompt,
)
from fitserve.predict.gpu_rates import GpuRates
from fitserve.predict.scales import Scales, Terms, scales_of, terms_of
from fitserve.predict.step import StepParts, step_parts

TARGET = Path(__file__).parents[1] / "src/fitserve/predict/data/speed.json"
CASES = TARGET.with_name("speed_cases.json")
FILES = ("serving_speed.json", "serving_speed_more.json")
FOLDS = 8
ROUNDS, STEPS = 3, 7
SIGMA = 0.15  # error below which residuals count in full; beyond it by their size (outliers in the sources)
FIRST_TOKEN_WEIGHT = 0.4
CROWDED_WEIGHT = 0.4  # their batch rests on the memory model
# Standard deviations of the coefficients before any case: the physical parts are known best.
PRIOR = {
    "decode.dense": 0.06, "decode.experts": 0.06, "decode.attention": 0.06, "decode.dense_excess": 0.5,
    "decode.experts_excess": 0.4, "decode.attention_excess": 0.4, "decode.collectives": 0.3, "decode.layers": 0.4,
    "decode.step": 0.5, "decode.requests": 0.4, "prefill.dense": 0.15, "prefill.attention": 0.2, "interference": 0.15,
}  # fmt: skip
PRIOR_BY_KIND = {
    "decode.family": 0.4,
    "prefill.family": 0.2,
    "decode.layers.eager": 1.0,
    "decode.requests.vllm.synchronous": 1.0,
    "preemption": 0.4,
    "prefill.launch.dense.": 0.5,
    "prefill.launch.experts.": 0.1,
    "prefill.launch.": 0.3,
    "prefill.launch": 0.5,
    "wave": 0.1,  # half of a wave's prompts come before a request's own, half after it
    "first.wave": 0.1,
    "first.burst": 0.3,
    "first.base": 0.6,
    "first.step": 1.0,  # servers hand out tokens in groups
    "first": 0.2,
}
ENGINE_INTERFERENCE = 0.1
PRIOR_SHARED, PRIOR_DEVIATION = 0.35, 0.2
FEW = 25
INHERITED = 1.15  # wider by this, where tables or scales are those of another card (a choice)
TAIL = 0.04  # of the cases outside the band on either side
METRICS = {
    "ttft.mean": "ttft_ms.mean", "ttft.p50": "ttft_ms.p50", "ttft.p99": "ttft_ms.p99", "gap.mean": "inter_token_ms.mean",
    "gap.p50": "inter_token_ms.p50", "gap.p99": "inter_token_ms.p99", "rate": "output_tok_per_s",
}  # fmt: skip
Term = tuple[float, tuple[str, ...]]


@dataclass(slots=True)
class Item:
    """A usable case with everything that does not depend on the coefficients."""

    case: Case
    serving: ServingCase
    gpu: GpuRates
    parts: StepParts
    terms: Terms
    room: Room
    measured: Mapping[str, float]
    group: tuple[str, str]
    batch: float = 1.0
    decode: tuple[float, ...] = ()
    added: tuple[float, ...] = ()
    prefill: tuple[float, ...] = ()
    packed: tuple[float, ...] = ()
    busy: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_steady(self) -> bool:
        """A closed loop without queueing that is long enough to have a steady state."""
        return self.is_closed and self.room.asked <= 1.01 * self.room.batch and self.room.count > 1.01 * self.room.asked

    @property
    def is_closed(self) -> bool:
        """Users and not arrivals; their gaps are known by batch, their waiting is not fitted."""
        return self.serving.load.rate_per_s is None and self.is_usual

    @property
    def is_crowded(self) -> bool:
        """A closed loop with queueing, or a burst."""
        return self.serving.load.rate_per_s is None and not self.is_steady

    @property
    def is_usual(self) -> bool:
        """Answers of some length, and ranks whose experts are not spread over replicas."""
        return self.room.output >= 50 and self.serving.deployment.ep <= self.serving.deployment.tp


def items_of(folder: Path) -> Iterator[Item]:
    """Usable cases."""
    for case in cases_of([str(folder / name) for name in FILES]):
        if case.doubt or case.given.get("engine") not in {"vllm", "sglang", "tensorrt-llm"}:
            continue
        try:
            serving = serving_case(case.given)
            parts = step_parts(serving.deployment, serving.budget.kv.format)
        except (Unanswered, FitserveError):
            continue
        yield _item(case, serving, parts)


def _item(case: Case, serving: ServingCase, parts: StepParts) -> Item:
    deployment = serving.deployment
    figures = {key: float(value) for key, value in case.figures().items() if isinstance(value, int | float)}
    body = "MoE" if parts.experts else "dense"
    tags = {
        "all": "all", "body": body, "engine": f"{deployment.engine}, {body}", "GPU": parts.gpu.id,
        "format": f"{deployment.weight_format.name}, {body}",
    }  # fmt: skip
    item = Item(
        case=case, serving=serving, gpu=parts.gpu, parts=parts, terms=terms_of(deployment, parts.gpu),
        room=room_of(deployment, serving.budget, serving.load), measured=figures,
        group=(str(case.given["model"]), parts.gpu.id), tags=tags,
    )  # fmt: skip
    work(item, item.room.batch)
    return item


def work(item: Item, batch: float) -> None:
    """Sets the parts of the steps at a batch size."""
    item.batch, parts, room = batch, item.parts, item.room
    tokens, count = chunks_of(room, batch)
    item.decode = parts.decode(batch, batch * room.context)
    added, prefill = [0.0] * len(item.decode), [0.0] * len(item.decode)
    for index in range(count):
        mixed = parts.mixed(batch, batch * room.context, tokens, index * tokens)
        alone = parts.prefill(tokens, index * tokens)
        added = [total + max(0.0, new - old) for total, new, old in zip(added, mixed, item.decode, strict=True)]
        prefill = [total + new for total, new in zip(prefill, alone, strict=True)]
    prompts, past = packed(room, batch)
    full = [value / prompts for value in parts.prefill(prompts * room.prompt, past)] if prompts > 1 else prefill
    item.added, item.prefill, item.packed = (
        tuple(prefill if room.is_prefill_first else added),
        tuple(prefill),
        tuple(full),
    )


def gap_terms(item: Item) -> list[Term]:
    """The mean gap as a sum of positive terms."""
    share = added_share(item.room, item.batch)
    found = list(zip(item.decode, item.terms.decode, strict=True))
    in_waves = item.room.runs_in_waves
    scale = item.terms.wave if in_waves else item.terms.interference
    for value, names in zip(item.packed if in_waves else item.added, item.terms.prefill, strict=True):
        found.append((value * share, names + scale))
    if is_cache_full(item.room, item.batch):
        found = [(value, names + item.terms.preemption) for value, names in found]
    return [(value, names) for value, names in found if value > 0]


def first_terms(item: Item) -> list[Term]:
    """The time to first token as a sum of positive terms."""
    base, step, own, burst, queue, layer, bunch, wave = item.terms.first_token
    found: list[Term] = [(0.02, base), (item.parts.layers * 2e-4, layer)]
    found += [(value, names + step) for value, names in zip(item.decode, item.terms.decode, strict=True)]
    found += [(value, names + own) for value, names in zip(item.prefill, item.terms.prefill, strict=True)]
    met = prompts_met(item.room, item.batch, item.busy)
    for value, names in zip(item.added, item.terms.prefill, strict=True):
        found.append((value * met.first_wave, names + burst))
        found.append((value * met.queue, names + queue))
        found.append((value * met.bunch, names + bunch))
    for value, names in zip(item.packed, item.terms.prefill, strict=True):
        found.append((value * met.wave, names + wave))
    steps = met.first_wave * steps_a_prompt(item.room, item.batch)
    found += [(value * steps, names + burst) for value, names in zip(item.decode, item.terms.decode, strict=True)]
    return [(value, names) for value, names in found if value > 0]


def precision(name: str) -> float:
    """Inverse variance of a coefficient before any case."""
    if name in PRIOR:
        return 1 / PRIOR[name] ** 2
    if name.startswith("interference."):
        return 1 / ENGINE_INTERFERENCE**2
    for kind, deviation in PRIOR_BY_KIND.items():
        if name.startswith(kind):
            return 1 / deviation**2
    return 1 / (PRIOR_SHARED if name.count(".") == 1 else PRIOR_DEVIATION) ** 2


def observations(items: Sequence[Item]) -> list[tuple[list[Term], float, float]]:
    """(terms, logarithm of the measured seconds, weight); a group of many cases counts less than their number."""
    sizes: dict[tuple[str, ...], int] = defaultdict(int)
    for item in items:
        sizes[*item.group, item.tags["engine"], item.tags["format"]] += 1
    found = []
    for item in items:
        weight = sizes[*item.group, item.tags["engine"], item.tags["format"]] ** -0.5
        weight *= CROWDED_WEIGHT if item.is_crowded else 1.0
        for key, make, share in (("inter_token_ms", gap_terms, 1.0), ("ttft_ms", first_terms, FIRST_TOKEN_WEIGHT)):
            value = item.measured.get(f"{key}.mean") or item.measured.get(f"{key}.p50")
            if value and (key == "inter_token_ms" or not item.is_crowded):
                found.append((make(item), math.log(value / 1e3), weight * share))
        rate = item.measured.get("output_tok_per_s")
        if rate and item.is_steady and not any(key.startswith("inter_token_ms") for key in item.measured):
            # all that is known is how long a user's tokens take, the first one shared out among them
            first = [(value / item.room.output, names) for value, names in first_terms(item)]
            found.append(([*gap_terms(item), *first], math.log(item.batch * item.room.busy_replicas / rate), weight))
    return found


def fit(items: Sequence[Item]) -> dict[str, float]:
    """Coefficients by name: regularised Gauss-Newton on logarithms, outliers at reduced weight."""
    steady = [item for item in items if item.is_closed]
    arrivals = [item for item in items if item.serving.load.rate_per_s is not None and item.is_usual]
    found: dict[str, float] = {}
    for turn in range(ROUNDS):
        used = list(steady)
        for item in arrivals if turn else ():
            figures = predicted(item, found)
            if figures.regime == "arrivals":
                work(item, figures.room.batch)
                used.append(item)
        for item in used:
            item.busy = _busy(item, found)
        found = _solve(observations(used), found)
    return {name: round(value, 4) for name, value in sorted(found.items()) if abs(value) >= 5e-4}


def _busy(item: Item, found: Mapping[str, float]) -> float:
    scales = scales_of(item.terms, found)
    total = item.batch * _dot(item.added, scales.prefill)
    return min(0.8, total / (total + item.room.output * _dot(item.decode, scales.decode)))


def _dot(values: Sequence[float], factors: Sequence[float]) -> float:
    return sum(value * factor for value, factor in zip(values, factors, strict=True))


def _solve(rows: Sequence[tuple[list[Term], float, float]], start: Mapping[str, float]) -> dict[str, float]:
    names = sorted({name for terms, _, _ in rows for _, group in terms for name in group})
    index = {name: position for position, name in enumerate(names)}
    owner = np.array([row for row, (terms, _, _) in enumerate(rows) for _ in terms])
    value = np.array([term for terms, _, _ in rows for term, _ in terms])
    groups = [group for terms, _, _ in rows for _, group in terms]
    member = np.array([position for position, group in enumerate(groups) for _ in group])
    which = np.array([index[name] for group in groups for name in group])
    goal, base = np.array([goal for _, goal, _ in rows]), np.array([weight for _, _, weight in rows])
    base = base / base.mean()
    penalty = np.array([precision(name) for name in names]) * SIGMA**2
    state = np.array([start.get(name, 0.0) for name in names])
    for _ in range(STEPS):
        terms = value * np.exp(np.bincount(member, state[which], minlength=len(value)))
        total = np.bincount(owner, terms, minlength=len(rows))
        off = np.log(total) - goal
        weight = base / np.maximum(1.0, np.abs(off) / SIGMA)
        slope = np.zeros((len(rows), len(names)))
        np.add.at(slope, (owner[member], which), (terms / total[owner])[member])
        left = slope.T @ (slope * weight[:, None]) + np.diag(penalty)
        right = slope.T @ (weight * off) + penalty * state
        state = state - np.clip(np.linalg.solve(left, right), -0.7, 0.7)
    return dict(zip(names, state.tolist(), strict=True))


def predicted(item: Item, found: Mapping[str, float]) -> Figures:
    """Figures of a case with some coefficients."""
    scales: Scales = scales_of(item.terms, found)
    return figures_of(item.parts, scales, item.serving.deployment, item.room, item.serving.load)


@dataclass(frozen=True, slots=True)
class Error:
    """A held-out figure: logarithm of measured over predicted."""

    item: Item
    metric: str
    regime: str
    tier: int
    fold: int
    log: float


def held_out(items: Sequence[Item], key: Callable[[Item], Any] = lambda item: item.group) -> list[Error]:
    """Errors of every case with coefficients from the other groups."""
    groups = sorted({key(item) for item in items})
    random.Random(1).shuffle(groups)  # noqa: S311 - a split of cases, nothing secret
    fold_of = {group: position % FOLDS for position, group in enumerate(groups)}
    found = []
    for fold in range(FOLDS):
        fitted = fit([item for item in items if fold_of[key(item)] != fold])
        for item in items:
            if fold_of[key(item)] == fold:
                found += list(_errors(item, predicted(item, fitted), fold))
    return found


def _errors(item: Item, figures: Figures, fold: int) -> Iterator[Error]:
    values = {"ttft": figures.ttft_s * 1e3, "gap": figures.inter_token_s * 1e3, "rate": figures.output_tok_per_s}
    for metric, name in METRICS.items():
        measured = item.measured.get(name)
        if metric == "rate" and not measured and item.measured.get("total_tok_per_s"):
            load = item.serving.load
            measured = item.measured["total_tok_per_s"] * load.output_tokens / (load.prompt_tokens + load.output_tokens)
        value = values[metric.split(".")[0]]
        if measured and measured > 0 and value > 0:
            yield Error(item, metric, figures.regime, item.gpu.tier, fold, math.log(measured / value))


def keys_of(error: Error) -> tuple[str, ...]:
    """Groups of an error, narrowest first."""
    return band_keys(error.metric, error.regime, error.item.serving.deployment.engine, error.tier)


def bands(errors: Sequence[Error]) -> dict[str, list[float]]:
    """(low, bias, high) factors by group with cases enough.

    The bias is shrunk towards none, and there is none for means of regimes that are fitted. Cases of one (model, GPU) err
    alike, so each counts less than a case alone.
    """
    groups: dict[str, list[Error]] = defaultdict(list)
    for error in errors:
        for key in keys_of(error):
            groups[key].append(error)
    made = {}
    for key, members in sorted(groups.items()):
        if len(members) < FEW and not key.endswith("*|*|*"):
            continue
        sizes: dict[tuple[str, str], int] = defaultdict(int)
        for error in members:
            sizes[error.item.group] += 1
        pairs = sorted((error.log, sizes[error.item.group] ** -0.5) for error in members)
        low, high = _quantile(pairs, TAIL), _quantile(pairs, 1 - TAIL)
        is_corrected = key.split("|")[1] in CROWDED or key.split("|")[0].endswith(("p50", "p99"))
        middle = _quantile(pairs, 0.5) * len(pairs) / (len(pairs) + FEW) if is_corrected else 0.0
        made[key] = [round(math.exp(value), 3) for value in (min(low, middle), middle, max(high, middle))]
    _widen(made)
    return made


def _widen(made: dict[str, list[float]]) -> None:
    """What is inherited is never surer than what was measured on the card itself, whether or not cases were enough."""
    for key in [key for key in made if key.endswith("|*|*") and not key.endswith("*|*|*")]:
        stem = key.removesuffix("*")
        for tier in (1, 2):
            low, middle, high = made.get(f"{stem}{tier}", made[key])
            nearer = made.get(f"{stem}{tier - 1}", made[key])
            low, high = min(low, nearer[0] / INHERITED), max(high, nearer[2] * INHERITED)
            made[f"{stem}{tier}"] = [round(low, 3), middle, round(high, 3)]


def _quantile(pairs: Sequence[tuple[float, float]], share: float) -> float:
    """Weighted quantile of sorted (value, weight) pairs."""
    goal, seen = share * sum(weight for _, weight in pairs), 0.0
    for value, weight in pairs:
        seen += weight
        if seen >= goal:
            return value
    return pairs[-1][0]


def corrected(errors: Sequence[Error]) -> list[tuple[Error, float, bool]]:
    """(error, relative error after the correction, inside the band), both from the other folds."""
    tables = {fold: bands([error for error in errors if error.fold != fold]) for fold in range(FOLDS)}
    found = []
    for error in errors:
        table = tables[error.fold]
        low, middle, high = next(table[key] for key in keys_of(error) if key in table)
        factor = math.exp(error.log)
        found.append((error, middle / factor - 1, low <= factor <= high))
    return found


def report(errors: Sequence[Error]) -> str:
    """Held-out errors by what matters, as a table."""
    rows: dict[tuple[str, str, str], list[tuple[float, bool]]] = defaultdict(list)
    for error, off, inside in corrected(errors):
        if error.metric in {"ttft.mean", "gap.mean", "rate"}:
            for tag, value in (*error.item.tags.items(), ("regime", error.regime), ("tier", str(error.tier))):
                rows[tag, value, error.metric].append((off, inside))
    lines = ["| by | | metric | cases | median % | p90 % | bias % | inside % |", "|---|---|---|---|---|---|---|---|"]
    for (tag, value, metric), cells in sorted(rows.items()):
        sizes = sorted(100 * abs(off) for off, _ in cells)
        bias, inside = 100 * statistics.median(off for off, _ in cells), 100 * sum(ok for _, ok in cells) / len(cells)
        p90 = sizes[max(0, math.ceil(0.9 * len(sizes)) - 1)]
        middle = statistics.median(sizes)
        lines.append(
            f"| {tag} | {value} | {metric} | {len(sizes)} | {middle:.1f} | {p90:.0f} | {bias:+.0f} | {inside:.0f} |"
        )
    return "\n".join(lines)


def text_of(items: Sequence[Item], errors: Sequence[Error]) -> str:
    """The file."""
    fitted = fit(items)
    content = {
        "what": "logarithms of the scales of the step model; (low, bias, high) of its figures by metric|regime|engine|tier",
        "by": "tools/fit_speed.py; intervals from errors held out by (model, GPU)",
        "checked": "2026-11-20",
        "coefficients": fitted,
        "intervals": bands(errors),
        "cases": len(items),
    }
    return (
        "{\n"
        + ",\n".join(f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}" for key, value in content.items())
        + "\n}\n"
    )


def _ids(items: Sequence[Item]) -> dict[str, list[str]]:
    """Ids of the cases by the prefix that they share, to keep the file small."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in items:
        prefix, _, rest = item.case.id.partition("-")
        found[prefix].append(rest)
    return dict(found)


def main() -> int:
    """Writes or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evidence", type=Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    items = list(items_of(args.evidence))
    errors = held_out(items)
    made = text_of(items, errors)
    ids = json.dumps(_ids(items), separators=(",", ":")) + "\n"
    print(report(errors))
    if args.check:
        return 0 if TARGET.read_text() == made and CASES.read_text() == ids else 1
    TARGET.write_text(made)
    CASES.write_text(ids)
    return 0


if __name__ == "__main__":
    sys.exit(main())
