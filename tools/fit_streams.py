"""Fits the coefficients of the speed of one stream, and the spread of its errors, from measured cases.

    python tools/fit_streams.py FILE...           write src/fitserve/predict/data/streams.json
    python tools/fit_streams.py FILE... --check   exit 1 when a new fit differs from the file
    python tools/fit_streams.py FILE... --table   print held-out errors by family and engine

FILE: case files with single_stream_speed and serving_speed cases. Cases with a doubt are left out. Many measured cases
may not be redistributed: the file holds the coefficients and the ids of the cases, which the packaged ones are part of.

The law is a sum of terms, each a physical time and the exponential of a sum of coefficients (predict/stream_terms.py).
Coefficients are shrunk: a prior of mean zero (of a term's own: what was expected) whose width depends on what the key
names, so that a card with few cases stays near its family. Gauss-Newton with Cauchy weights; groups (model, device)
weigh as the root of their size. Errors are those of cross-validation in which whole groups are left out.
"""

import argparse
import collections
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fitserve.evidence.cases import cases_of
from fitserve.evidence.given import Unanswered
from fitserve.evidence.speed_cases import stream_case
from fitserve.foundation.errors import FactMissing
from fitserve.predict.stream_job import StreamJob, stream_job
from fitserve.predict.stream_terms import Term, decode_terms, prefill_terms
from fitserve.predict.streams import group_of

TARGET = Path(__file__).parents[1] / "src/fitserve/predict/data/streams.json"
IDS = TARGET.with_name("streams_cases.json")
NOISE = 0.07
FOLDS = 10
STEPS = 14
WIDTHS = {
    "stem": 1.5, "backend": 0.4, "family": 0.25, "gpu": 0.15, "path": 0.1, "engine": 0.25, "old": 0.3, "format": 0.3,
    "pair": 0.15, "read_format": 0.12, "read_pair": 0.08, "cpu": 0.8, "other": 0.2, "other_engine": 0.6, "host": 1.0,
}  # fmt: skip
MEANS = {
    "read": 0.3, "unpack": -2.0, "layer": 1.1, "cache": 0.5, "handover": 1.0, "host": 0.4, "gemm": 0.0,
    "prefill_layer": 1.0, "prefill_read": 0.3, "attention": 0.5, "host_gemm": -0.2, "host_read": 0.3,
    "host_attention": 0.7,
}  # fmt: skip
LLAMA = ("llama.cpp", "ollama", "lmstudio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A measured time with the terms that should make it up."""

    id: str
    phase: str
    job: StreamJob
    terms: tuple[Term, ...]
    seconds: float
    streams: int
    model: str

    @property
    def device(self) -> str:
        """Card or processor."""
        return self.job.devices[0].id if self.job.devices else self.job.host.id if self.job.host else "?"

    @property
    def family(self) -> str:
        """Cards that share kernels."""
        return self.job.devices[0].family if self.job.devices else "cpu"


def rows_of(paths: Sequence[str]) -> list[Row]:
    """Usable rows of case files."""
    found: list[Row] = []
    for case in cases_of(paths):
        if case.doubt:
            continue
        try:
            if case.kind == "single_stream_speed":
                found += _single(case)
            elif case.kind == "serving_speed":
                found += _several(case)
        except (Unanswered, FactMissing):
            continue
    return sorted(found, key=lambda row: (row.phase, row.id))


def _single(case: Any) -> list[Row]:
    made = stream_case(case.given)
    rate = case.measured.get("tok_per_s")
    if not rate:
        return []
    job = stream_job(made.deployment, made.backend)
    decode = made.phase == "decode"
    terms = decode_terms(job, made.depth_tokens) if decode else prefill_terms(job, made.tokens, made.depth_tokens)
    seconds = (1 if decode else made.tokens) / rate
    return [_row(case, made.phase, job, terms, seconds, 1)]


def _row(case: Any, phase: str, job: StreamJob, terms: tuple[Term, ...], seconds: float, streams: int) -> Row:
    return Row(
        id=case.id, phase=phase, job=job, terms=terms, seconds=seconds, streams=streams, model=str(case.given["model"])
    )


def _several(case: Any) -> list[Row]:
    """Steps of several sequences, of engines with slots: benches that decode all together, servers up to eight."""
    given = case.given
    streams, gap = given.get("concurrency"), case.measured.get("inter_token_ms", {})
    is_bench = given.get("dataset") == "llama-batched-bench"
    if given.get("engine") != "llama.cpp" or not streams or not gap or streams < 2 or (streams > 8 and not is_bench):
        return []
    made = stream_case(
        {**given, "phase": "decode", "tokens": given["output_tokens"], "depth_tokens": given["prompt_tokens"]}
    )
    job = stream_job(made.deployment, made.backend)
    seconds = (gap.get("mean") or gap.get("p50")) / 1000
    return [_row(case, "decode", job, decode_terms(job, made.depth_tokens, streams), seconds, streams)]


def width_of(key: str) -> float:
    """How far a coefficient may be expected to lie from its prior."""
    stem, _, rest = key.partition("/")
    if not rest:
        return WIDTHS["stem"]
    kind = rest.split(":")[0]
    if kind == "format":
        # one token reads every weight once: how fast hardly depends on the format; computing with them does
        return WIDTHS[("read_" if stem == "read" else "") + ("pair" if "|" in rest else "format")]
    if stem == "host_gemm" and kind in {"experts", "sockets"}:
        return WIDTHS["host"]
    if kind == "engine" and not rest.endswith(LLAMA):
        return WIDTHS["other_engine"]
    return WIDTHS.get(kind, WIDTHS["other"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """All terms of all rows as arrays: which row, log of the base; and how often which term has which key."""

    keys: tuple[str, ...]
    row: Any
    base: Any
    term: Any
    key: Any
    count: Any
    target: Any
    weight: Any


def design_of(rows: Sequence[Row]) -> Design:
    """The arrays of some rows."""
    keys = sorted({key for row in rows for term in row.terms for key in term.keys})
    place = {key: index for index, key in enumerate(keys)}
    terms = [(index, term) for index, row in enumerate(rows) for term in row.terms]
    cells = [
        (line, place[key], count)
        for line, (_, term) in enumerate(terms)
        for key, count in sorted(collections.Counter(term.keys).items())
    ]
    sizes = collections.Counter((row.model, row.device) for row in rows)
    return Design(
        keys=tuple(keys),
        row=np.array([index for index, _ in terms]),
        base=np.log([max(term.base_s, 1e-12) for _, term in terms]),
        term=np.array([line for line, _, _ in cells]),
        key=np.array([key for _, key, _ in cells]),
        count=np.array([float(count) for _, _, count in cells]),
        target=np.log([row.seconds for row in rows]),
        weight=np.array([sizes[row.model, row.device] ** -0.5 for row in rows]),
    )


def fit(design: Design, train: Any) -> Any:
    """Coefficients from the rows that `train` marks."""
    rows, width_of_row = len(design.target), len(design.keys)
    mean = np.array([MEANS.get(key, 0.0) for key in design.keys])
    width = np.array([width_of(key) for key in design.keys])
    used = train[design.row]
    place = np.cumsum(used) - 1  # of a term among those that are used
    row, base = design.row[used], design.base[used]
    mine = used[design.term]
    term, key, count = place[design.term[mine]], design.key[mine], design.count[mine]
    cell = row[term] * width_of_row + key
    found = mean.copy()
    for _ in range(STEPS):
        parts = np.exp(base + np.bincount(term, count * found[key], minlength=len(base)))
        total = np.bincount(row, parts, minlength=rows)
        slope = np.bincount(cell, count * (parts / total[row])[term], minlength=rows * width_of_row)
        slope = slope.reshape(rows, width_of_row)
        off = np.where(train, np.log(np.maximum(total, 1e-12)) - design.target, 0.0)
        weight = design.weight * train / (1 + (np.abs(off) / NOISE / 2) ** 2) / NOISE**2
        curve = slope.T @ (slope * weight[:, None]) + np.diag(1 / width**2)
        step = np.linalg.solve(curve, slope.T @ (weight * off) + (found - mean) / width**2)
        found = found - np.clip(step, -0.7, 0.7)
        if float(np.max(np.abs(step))) < 1e-5:
            break
    return found


def held_out(rows: Sequence[Row], design: Design, group: Callable[[Row], str]) -> list[float]:
    """Log of measured over predicted time of each row, by a fit without its group."""
    names = sorted({group(row) for row in rows}, key=_shuffled)
    fold = {name: index % FOLDS for index, name in enumerate(names)}
    places = np.array([fold[group(row)] for row in rows])
    errors = np.zeros(len(rows))
    for index in range(min(FOLDS, len(names))):
        left = places == index
        sums = np.bincount(design.term, design.count * fit(design, ~left)[design.key], minlength=len(design.base))
        parts = np.exp(design.base + sums)
        predicted = np.log(np.bincount(design.row, parts, minlength=len(rows)))
        errors[left] = (design.target - predicted)[left]
    return [float(error) for error in errors]


def _shuffled(name: str) -> int:
    """An order that has nothing to do with the alphabet and is the same everywhere."""
    value = 0
    for letter in name.encode():
        value = (value * 1000003 ^ letter) & 0xFFFFFFFF
    return value


def spread(errors: Sequence[float]) -> dict[str, float]:
    """Factors on the predicted time that hold nine in ten, and the size of the errors of the rate."""
    ordered = sorted(errors)
    count = len(ordered)
    sizes = sorted(abs(math.exp(error) - 1) for error in ordered)
    return {
        "low": round(math.exp(ordered[int(0.05 * count)]), 3),
        "high": round(math.exp(ordered[min(count - 1, math.ceil(0.95 * count))]), 3),
        "median_pct": round(100 * statistics.median(sizes), 1),
        "p90_pct": round(100 * sizes[min(count - 1, int(0.9 * count))], 1),
        "cases": count,
    }


def errors_table(rows: Sequence[Row], design: Design) -> tuple[dict[str, Any], list[float]]:
    """Spreads by how near the measurements are, and the errors of the nearest level."""
    own = held_out(rows, design, lambda row: f"{row.model}|{row.device}")
    family = held_out(rows, design, lambda row: row.device)
    backend = held_out(rows, design, lambda row: row.family)
    table: dict[str, Any] = {}
    for level, errors in (("gpu", own), ("family", family), ("backend", backend)):
        grouped: dict[str, list[float]] = collections.defaultdict(list)
        for row, error in zip(rows, errors, strict=True):
            if not row.job.devices:
                if level != "backend":
                    grouped["host" if level == "gpu" else "host_other"].append(error)
            elif row.job.host_layers or row.job.host_experts:
                grouped["mixed"].append(error) if level == "gpu" else None
            elif row.streams == 1:
                grouped[level].append(error)
                grouped[f"{level}/{group_of(row.job)}"].append(error)
        for name, found in grouped.items():
            if len(found) >= (10 if "/" not in name else 30):
                table[name] = spread(found)
    table.setdefault("mixed", table["backend"])
    return dict(sorted(table.items())), own


def known_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Cases by device, family, backend and processor."""
    devices = collections.Counter(device.id for row in rows for device in {d.id: d for d in row.job.devices}.values())
    families = collections.Counter(row.family for row in rows if row.job.devices)
    backends = collections.Counter(row.job.backend for row in rows if row.job.devices)
    processors = collections.Counter(row.job.host.id for row in rows if row.job.host and not row.job.devices)
    counted = {"devices": devices, "families": families, "backends": backends, "processors": processors}
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}


def print_table(rows: Sequence[Row], errors: Sequence[float]) -> None:
    """Held-out errors by family and by engine."""
    views: dict[str, Callable[[Row], str]] = {
        "all": lambda row: row.phase + (" x" if row.streams > 1 else ""),
        "family": lambda row: row.family,
        "engine": lambda row: f"{row.job.engine} {row.job.backend}",
    }
    for view in views.values():
        grouped: dict[str, list[float]] = collections.defaultdict(list)
        for row, error in zip(rows, errors, strict=True):
            grouped[view(row)].append(error)
        for name, found in sorted(grouped.items(), key=lambda pair: -len(pair[1])):
            if len(found) >= 5:
                print(f"{rows[0].phase:8s} {name:28s} {spread(found)}")


def main() -> int:
    """Writes, checks or prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    rows = rows_of(arguments.files)
    coefficients: dict[str, float] = {}
    errors: dict[str, Any] = {}
    for phase in ("decode", "prefill"):
        chosen = [row for row in rows if row.phase == phase]
        design = design_of(chosen)
        found = fit(design, np.ones(len(chosen), dtype=bool))
        coefficients |= {
            key: round(float(value), 3) for key, value in zip(design.keys, found, strict=True) if abs(value) >= 0.002
        }
        errors[phase], own = errors_table(chosen, design)
        if arguments.table:
            print_table(chosen, own)
    content = {"coefficients": dict(sorted(coefficients.items())), "errors": errors, "known": known_of(rows)}
    text = json.dumps(content, indent=0, sort_keys=True) + "\n"
    ids = json.dumps(sorted(row.id for row in rows), indent=0) + "\n"
    if arguments.check:
        return 0 if TARGET.read_text() == text and IDS.read_text() == ids else 1
    TARGET.write_text(text)
    IDS.write_text(ids)
    return 0


if __name__ == "__main__":
    sys.exit(main())
