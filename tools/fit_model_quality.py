"""Fits how strong each model is for a purpose from comparisons inside the published tables.

    python tools/fit_model_quality.py            writes src/fitserve/predict/data/model_ranks.json
    python tools/fit_model_quality.py --choose   as well, and chooses the prior anew by held-out benchmarks (minutes)
    python tools/fit_model_quality.py --check    writes nothing; exit 1 when the file differs

Two figures are set against each other only when they stand in one table, for one setting. Each pair says with which
probability the one is better, given the chance error of both figures; a strength per (model, way of answering) is
fitted to all pairs (Bradley and Terry, logistic), pulled to the middle by a normal prior, and with one common advantage
of figures that a maker prints about its own model. Strengths of models that no chain of tables links to the rest are
not given. Held out: each benchmark in turn is predicted from the others; and strengths from two halves of the
benchmarks are compared, which sets the width of the intervals.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from pathlib import Path

from fitserve.predict.benchmarks import Figure, chance_error, comparable, groups, purposes, settings

TARGET = Path(__file__).parents[1] / "src/fitserve/predict/data/model_ranks.json"
PRIOR_SD = (1.5, 2.5, 4.0)
PAIRS_A_FIGURE = 6.0
"""However many others stand in its table, a figure counts as this many comparisons at most: they share its chance."""
SWEEPS = 25
Entry = tuple[str, str]
Pair = tuple[Entry, Entry, int, float, float]
"""one, other, sign of the maker's advantage, weight, probability that one is better"""


def pairs_of(benchmarks: dict[str, float], pairs_a_figure: float) -> dict[str, list[Pair]]:
    """Comparisons by benchmark."""
    weights = settings()["reporters"]
    spread: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for benchmark, setting, table in groups():
        spread[benchmark, table].add(setting)
    found: dict[str, list[Pair]] = defaultdict(list)
    for (benchmark, _, table), members in sorted(groups().items(), key=lambda item: str(item[0])):
        if benchmark not in benchmarks:
            continue
        share = benchmarks[benchmark] / len(spread[benchmark, table])
        ordered = sorted(members, key=lambda figure: (figure.model, figure.runs, str(figure.mode)))
        for index, one in enumerate(ordered):
            for other in ordered[index + 1 :]:
                if one.model != other.model and comparable(one, other):
                    weight = share * min(1.0, pairs_a_figure / (len(members) - 1))
                    weight *= min(weights[one.reporter_kind], weights[other.reporter_kind])
                    found[benchmark].append(
                        (entry(one), entry(other), _own(one) - _own(other), weight, better(one, other))
                    )
    return found


def entry(figure: Figure) -> Entry:
    """A model that thinks and the same model answering at once are two entries."""
    return figure.model, figure.runs


def _own(figure: Figure) -> int:
    return int(figure.reporter_kind == "maker")


def better(one: Figure, other: Figure) -> float:
    """Probability that `one` is the better model in truth, given the chance error of both figures."""
    error = math.hypot(chance_error(one), chance_error(other))
    return 0.5 * (1 + math.erf((one.value - other.value) / error / math.sqrt(2)))


def fit(pairs: list[Pair], prior_sd: float) -> tuple[dict[Entry, float], dict[Entry, float], float]:
    """Strengths, their standard deviations, and the advantage of a maker's own figure."""
    summed: dict[tuple[Entry, Entry, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one, other, sign, weight, probability in pairs:
        cell = summed[one, other, sign]
        cell[0] += weight
        cell[1] += weight * probability
    touching: dict[Entry, list[tuple[Entry, int, float, float]]] = defaultdict(list)
    for (one, other, sign), (weight, won) in summed.items():
        touching[one].append((other, sign, weight, won))
        touching[other].append((one, -sign, weight, weight - won))
    strength = dict.fromkeys(sorted(touching), 0.0)
    curvature = dict.fromkeys(strength, 0.0)
    advantage = 0.0
    for _ in range(SWEEPS):
        for name, others in sorted(touching.items()):
            slope, bend = -strength[name] / prior_sd**2, 1 / prior_sd**2
            for other, sign, weight, won in others:
                expected = 1 / (1 + math.exp(strength[other] - strength[name] - sign * advantage))
                slope += won - weight * expected
                bend += weight * expected * (1 - expected)
            strength[name] += slope / bend
            curvature[name] = bend
        advantage += _advantage_step(summed, strength, advantage)
    return strength, {name: bend**-0.5 for name, bend in curvature.items()}, advantage


def _advantage_step(
    summed: dict[tuple[Entry, Entry, int], list[float]], strength: dict[Entry, float], advantage: float
) -> float:
    slope, bend = -advantage, 1.0  # a prior of one unit: tables without the maker's own rows say nothing
    for (one, other, sign), (weight, won) in summed.items():
        if sign:
            expected = 1 / (1 + math.exp(strength[other] - strength[one] - sign * advantage))
            slope += sign * (won - weight * expected)
            bend += weight * expected * (1 - expected)
    return slope / bend


def linked(pairs: list[Pair]) -> set[Entry]:
    """The largest set of entries that a chain of tables links."""
    neighbours: dict[Entry, set[Entry]] = defaultdict(set)
    for one, other, *_ in pairs:
        neighbours[one].add(other)
        neighbours[other].add(one)
    best: set[Entry] = set()
    unseen = set(neighbours)
    while unseen:
        part, frontier = set(), [min(unseen)]
        while frontier:
            name = frontier.pop()
            if name not in part:
                part.add(name)
                frontier += neighbours[name] - part
        unseen -= part
        best = max(best, part, key=len)
    return best


def held_out(by_benchmark: dict[str, list[Pair]], prior_sd: float) -> tuple[float, float]:
    """Log loss and share of rightly ordered clear pairs, each benchmark predicted from the others."""
    loss = total = right = clear = 0.0
    for left_out, wanted in by_benchmark.items():
        strength, _, advantage = fit([p for name, ps in by_benchmark.items() if name != left_out for p in ps], prior_sd)
        for one, other, sign, weight, probability in wanted:
            if one in strength and other in strength:
                guess = 1 / (1 + math.exp(strength[other] - strength[one] - sign * advantage))
                loss -= weight * (probability * math.log(guess) + (1 - probability) * math.log(1 - guess))
                total += weight
                if abs(probability - 0.5) > 0.45:  # beyond chance at about two standard errors
                    clear += weight
                    right += weight * ((probability > 0.5) == (guess > 0.5))
    return loss / total, right / clear


def interval_scale(by_benchmark: dict[str, list[Pair]], prior_sd: float) -> float:
    """By how much the deviations are too small: strengths from two halves of the benchmarks against each other."""
    squares, count = 0.0, 0
    names = sorted(by_benchmark)
    for start in range(2):
        halves = [[p for name in names[start + side :: 2] for p in by_benchmark[name]] for side in range(2)]
        (one, one_sd, _), (other, other_sd, _) = fit(halves[0], prior_sd), fit(halves[1], prior_sd)
        for name in one.keys() & other.keys():
            squares += (one[name] - other[name]) ** 2 / (one_sd[name] ** 2 + other_sd[name] ** 2)
            count += 1
    return max(1.0, math.sqrt(squares / count)) if count else 1.0


def choose(benchmarks: dict[str, float]) -> dict[str, float]:
    """The prior that predicts held-out benchmarks best, and how well it does."""
    by_benchmark = pairs_of(benchmarks, PAIRS_A_FIGURE)
    loss, right, prior_sd = min((*held_out(by_benchmark, prior_sd), prior_sd) for prior_sd in PRIOR_SD)
    return {"prior_sd": prior_sd, "held_out_right": round(right, 3), "held_out_log_loss": round(loss, 3)}


def rank(purpose: str, benchmarks: dict[str, float], chosen: dict[str, float]) -> dict[str, object]:
    """Strengths of one purpose: [model, way of answering, strength, deviation, weight of its figures]."""
    by_benchmark = pairs_of(benchmarks, PAIRS_A_FIGURE)
    pairs = [pair for members in by_benchmark.values() for pair in members]
    strength, sd, advantage = fit(pairs, chosen["prior_sd"])
    scale = interval_scale(by_benchmark, chosen["prior_sd"])
    weight: dict[Entry, float] = defaultdict(float)
    for members in groups().values():
        for figure in members:
            weight[entry(figure)] += benchmarks.get(figure.benchmark, 0.0)
    return {
        "purpose": purpose, **chosen, "maker_advantage": round(advantage, 3), "interval_scale": round(scale, 3),
        "entries": [
            [*name, round(strength[name], 3), round(sd[name] * scale, 3), round(weight[name], 1)]
            for name in sorted(linked(pairs))
        ],
    }  # fmt: skip


def text(choose_anew: bool) -> str:
    """The file as it should be."""
    what = "strengths fitted by tools/fit_model_quality.py from predict/data/benchmarks_*.json; logistic units"
    keys = ("prior_sd", "held_out_right", "held_out_log_loss")
    known = {}
    if not choose_anew:
        known = {row["purpose"]: {key: row[key] for key in keys} for row in json.loads(TARGET.read_text())["rows"]}
    rows = [
        rank(name, dict(benchmarks), choose(dict(benchmarks)) if choose_anew else known[name])
        for name, benchmarks in purposes().items()
    ]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    return f'{{\n"what":{json.dumps(what)},\n"rows":[\n{lines}\n]\n}}\n'


def main() -> int:
    """Writes or checks the file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--choose", action="store_true")
    arguments = parser.parse_args()
    check = arguments.check
    wanted = text(arguments.choose)
    same = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted
    if not check:
        TARGET.write_text(wanted, encoding="utf-8")
    elif not same:
        print(f"{TARGET.name} differs", file=sys.stderr)
    return int(check and not same)


if __name__ == "__main__":
    sys.exit(main())
