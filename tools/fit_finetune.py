"""Fits the coefficients of memory and time of fine-tuning, and the spread of held-out errors, from measured cases.

    python tools/fit_finetune.py FILE...           write src/fitserve/training/data/finetune.json
    python tools/fit_finetune.py FILE... --check   exit 1 when a new fit differs from the file
    python tools/fit_finetune.py FILE... --table   print held-out errors by stack

FILE: case files with finetune_memory cases. Some measured cases may not be redistributed: the file holds coefficients
and a count, no case. Cases with a doubt take no part. What follows from counting (weights, states, checkpoints, bytes of a
logit) is not fitted; the coefficients are shares of what physics gives, in logarithms, drawn towards a stated guess.
Errors are those of cross-validation in which every model is left out once.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fitserve.evidence.cases import cases_of
from fitserve.evidence.finetune import finetune_predictions, stack_of
from fitserve.evidence.given import Unanswered
from fitserve.training.coefficients import trial

TARGET = Path(__file__).parents[1] / "src/fitserve/training/data/finetune.json"
NOISE = 0.05
METRICS = {"peak_gb": "peak", "peak_gib": "peak", "reserved_gib": "reserved", "s_per_step": "time", "tok_per_s": "time"}
GUESSES: Mapping[str, tuple[float, float]] = {
    # name: (guess, width of the belief about its logarithm)
    "score_bytes": (14.0, 0.3), "score_bytes_wide": (18.0, 0.3), "recompute": (1.5, 0.5), "recompute_wide": (2.0, 0.5),
    "kept": (1.0, 0.2), "full_inputs": (1.3, 0.3), "loss": (1.0, 0.4), "step_copy": (1.0, 1.0),
    "deepspeed_copy": (4.0, 0.5), "fixed_bytes": (5e8, 0.4), "slack_flash": (0.1, 0.5), "slack_eager": (0.25, 0.7),
    "slack_wide": (0.1, 0.7), "efficiency": (0.5, 0.3), "layer_s": (0.0016, 0.5), "nf4_bytes_per_s": (5e10, 1.0),
    "gptq_bytes_per_s": (5e10, 1.0), "link_share": (0.4, 0.3), "gather_factor": (2.0, 0.5),
    "filled": (0.3, 0.7),
}  # fmt: skip
FITTED: Mapping[str, tuple[str, ...]] = {
    "hf": (
        "score_bytes", "score_bytes_wide", "recompute", "recompute_wide", "slack_flash", "slack_eager", "slack_wide",
    ),
    "qwen": ("loss", "fixed_bytes", "slack_flash", "deepspeed_copy"),
    "litgpt": ("kept", "loss", "fixed_bytes", "slack_flash"),
    "torchtune": ("kept", "full_inputs", "loss", "recompute", "slack_flash", "fixed_bytes"),
    "common": ("efficiency", "layer_s", "nf4_bytes_per_s", "gptq_bytes_per_s", "link_share", "gather_factor"),
}  # fmt: skip
"""Memory is fitted by stack, time over all of them: no stack alone has enough cards and sizes."""
OWN_TIME = (("torchtune", "efficiency"), ("litgpt", "filled"))
"""torchtune's recipes are compiled (torch.compile); LitGPT states the longest sample of Alpaca, whose others are shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A measured figure of a case."""

    given: Mapping[str, Any]
    stack: str
    model: str
    metric: str
    name: str
    value: float


def points_of(paths: Sequence[str]) -> list[Point]:
    """Every figure that can be predicted, of cases without a doubt."""
    found = []
    for case in cases_of(paths):
        if case.kind != "finetune_memory" or case.doubt:
            continue
        try:
            with trial(content_of({})):
                predicted = finetune_predictions(case.given)
        except Unanswered:
            continue
        for name, value in case.figures().items():
            if name in METRICS and name in predicted:
                stack = stack_of(case.given)[0]
                found.append(
                    Point(given=case.given, stack=stack, model=case.given["model"], metric=METRICS[name], name=name,
                          value=float(value))
                )  # fmt: skip
    return found


def content_of(chosen: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    """The file for some chosen coefficients; others are the guesses."""
    common = {name: chosen.get(("common", name), guess) for name, (guess, _) in GUESSES.items()}
    common |= {"step_copy": 0.0, "filled": 1.0}
    if ("common", "fixed_bytes") not in chosen:
        common["fixed_bytes"] = 0.0
    stacks = {
        stack: {name: value for (owner, name), value in chosen.items() if owner == stack}
        for stack in FITTED if stack != "common"
    }  # fmt: skip
    usual = {key: [0.2, 0.2] for key in ("allocated", "reserved", "total", "time")}
    return {
        "cases": 0,
        "common": common,
        "stacks": stacks,
        "spread": {f"other {key}": row for key, row in usual.items()},
    }


def residuals(points: Sequence[Point], chosen: Mapping[tuple[str, str], float]) -> np.ndarray:
    """Logarithms of measured over predicted."""
    out = []
    cache: dict[int, Mapping[str, Any]] = {}
    with trial(content_of(chosen)):
        for point in points:
            key = id(point.given)
            if key not in cache:
                cache[key] = finetune_predictions(point.given)
            out.append(math.log(point.value / cache[key][point.name].likely))
    return np.array(out)


def fit(
    points: Sequence[Point], keys: Sequence[tuple[str, str]], start: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """Gauss-Newton on logarithms with Cauchy weights and the beliefs as further rows."""
    guesses = np.array([math.log(GUESSES[name][0]) for _, name in keys])
    widths = np.array([GUESSES[name][1] for _, name in keys])
    x = np.array([math.log(start.get(key, GUESSES[key[1]][0])) for key in keys])
    fixed = {key: value for key, value in start.items() if key not in keys}
    if not points:
        return dict(start)

    def at(values: np.ndarray) -> np.ndarray:
        return residuals(points, fixed | {key: math.exp(value) for key, value in zip(keys, values, strict=True)})

    for _ in range(8):
        base = at(x)
        weights = 1 / (1 + (base / (3 * NOISE)) ** 2)
        slopes = np.stack([(at(x + 0.02 * np.eye(len(x))[i]) - base) / 0.02 for i in range(len(x))], axis=1)
        rows = np.concatenate([slopes * np.sqrt(weights)[:, None] / NOISE, np.diag(1 / widths)])
        want = np.concatenate([-base * np.sqrt(weights) / NOISE, (guesses - x) / widths])
        step = np.clip(np.linalg.lstsq(rows, want, rcond=None)[0], -0.5, 0.5)
        x = x + step
        if np.abs(step).max() < 1e-3:
            break
    return fixed | {key: math.exp(value) for key, value in zip(keys, x, strict=True)}


def fit_all(points: Sequence[Point], start: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Memory of every stack, then time of all."""
    chosen = dict(start)
    for stack in FITTED:
        if stack == "common":
            mine = [point for point in points if point.metric == "time"]
        else:
            mine = [point for point in points if point.stack == stack and point.metric != "time"]
        chosen = fit(mine, keys_of(stack), chosen)
    return chosen


def keys_of(stack: str) -> list[tuple[str, str]]:
    """The coefficients that are fitted together."""
    return [*((stack, name) for name in FITTED[stack]), *(OWN_TIME if stack == "common" else ())]


def held_out(points: Sequence[Point], whole: Mapping[tuple[str, str], float]) -> list[tuple[Point, float]]:
    """Every point with measured over predicted less one, predicted without its model."""
    found = []
    for model in sorted({point.model for point in points}):
        mine = [point for point in points if point.model == model]
        stacks = {point.stack for point in mine}
        rest = [point for point in points if point.model != model]
        chosen = dict(whole)
        for stack in [*sorted(stacks), "common"]:
            part = [
                p
                for p in rest
                if (p.metric == "time" if stack == "common" else p.stack == stack and p.metric != "time")
            ]
            keys = keys_of(stack)
            start = {key: value for key, value in chosen.items() if key not in keys}
            chosen = fit(part, keys, start) if part else start
        found += [(point, math.exp(r) - 1) for point, r in zip(mine, residuals(mine, chosen), strict=True)]
    return found


def spreads(errors: Sequence[tuple[Point, float]]) -> dict[str, list[float]]:
    """(below, above) that nine in ten held-out errors stay inside, by stack and metric; `other` are those of all but hf."""
    groups: dict[str, list[float]] = {}
    for point, error in errors:
        names = (
            ["time"]
            if point.metric == "time"
            else ["allocated", "total"]
            if point.metric == "peak"
            else ["reserved", "total"]
        )
        for name in names:
            keys = [f"all {name}"] if name == "time" else [f"{point.stack} {name}"]
            if point.stack != "hf":
                keys.append(f"other {name}")
            for key in keys:
                groups.setdefault(key, []).append(error)
    if "other reserved" not in groups:
        groups["other reserved"] = groups["other allocated"]
    return {key: list(_reach(values)) for key, values in sorted(groups.items())}


def _reach(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.05, 0.95])
    return round(max(0.01, -float(low)), 3), round(max(0.01, float(high)), 3)


def table(errors: Sequence[tuple[Point, float]]) -> None:
    """Held-out errors, relative to the measured figure, as the scoreboard counts."""
    groups: dict[tuple[str, str], list[float]] = {}
    for point, error in errors:
        off = abs(1 / (1 + error) - 1)
        for key in ((point.stack, point.metric), ("all", point.metric)):
            groups.setdefault(key, []).append(off)
    for key, values in sorted(groups.items()):
        values.sort()
        p90 = values[max(0, -(-9 * len(values) // 10) - 1)]
        print(f"{key[0]:10} {key[1]:9} {len(values):4} median {statistics.median(values):.3f} p90 {p90:.3f}")


def main() -> int:
    """Fits, checks or prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    points = points_of(arguments.files)
    chosen = fit_all(points, {})
    errors = held_out(points, chosen)
    content = content_of(chosen)
    content["cases"] = len({id(point.given) for point in points})
    content["spread"] = spreads(errors)
    for part in (content["common"], *content["stacks"].values()):
        part |= {name: float(f"{value:.4g}") for name, value in part.items()}
    text = json.dumps(content, indent=1) + "\n"
    if arguments.table:
        table(errors)
    if arguments.check:
        return 0 if _same(json.loads(text), json.loads(TARGET.read_text())) else 1
    TARGET.write_text(text)
    return 0


def _same(new: Any, old: Any) -> bool:
    """Equal but for the last digits, which another build of the linear algebra may round otherwise."""
    if isinstance(new, dict) and isinstance(old, dict):
        return new.keys() == old.keys() and all(_same(new[key], old[key]) for key in new)
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(_same(a, b) for a, b in zip(new, old, strict=True))
    return math.isclose(new, old, rel_tol=0.02, abs_tol=0.003)


if __name__ == "__main__":
    sys.exit(main())
