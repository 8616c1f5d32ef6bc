"""Fits what weight formats cost from the measured losses in the package.

    python tools/fit_format_quality.py            writes src/fitserve/predict/data/format_law.json
    python tools/fit_format_quality.py --check    writes nothing; exit 1 when the file differs

The loss is a mean KL divergence, on a scale where Llama 3 8B is the reference model. GGUF mixes: measured on it, one
value each (geometric mean over importance matrices), made monotone in bits within a family. How other models differ: a
power of the number of weights, from models of one family that differ in size only, and a spread between models. Scores
of tasks are tied to divergence by a power law where both were measured for the same files; formats that only scores
exist for are brought onto the scale by it.
"""

import argparse
import itertools
import json
import math
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fitserve.models.catalog.lookup import rows as catalogue
from fitserve.models.formats import parse_format
from fitserve.predict.format_law import plain_mix, size_of_weights
from fitserve.predict.loss_rows import Measurement, measurements
from fitserve.search.evaluate import quality_classes

TARGET = Path(__file__).parents[1] / "src/fitserve/predict/data/format_law.json"
REFERENCE, TWIN = "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"
LEAST = {"divergence": 0.01, "task": 0.5}
"""Smaller losses are mostly noise of the measurement: nats from perplexity, percent of a score."""
FLOOR_TASK_PCT = 0.1
NOISE_TASK_PCT = 1.0
"""One benchmark of a few hundred to a thousand questions moves by about a point from run to run."""
HAS_EXPERTS_BELOW = 0.8  # a vision tower takes a few percent of a dense model from what a token of text passes
NOT_IN_CATALOGUE = {"NeuroSenko/ToriiGate-0.5": 4.8e9}  # 9.66 GB in 16 bit, printed beside the figures


def weights_of(model: str) -> float:
    """Number of weights that a token passes: the active ones of a mixture of experts."""
    if model in NOT_IN_CATALOGUE:
        return NOT_IN_CATALOGUE[model]
    row = catalogue()[model]
    return float(row["active_params"] or row["total_params"])


def size_of(model: str) -> float:
    """Logarithm of the number of weights as the law takes it, the reference being 0."""
    row = catalogue().get(model)
    experts = row is not None and weights_of(model) < HAS_EXPERTS_BELOW * row["total_params"]
    return size_of_weights(weights_of(model), weights_of(REFERENCE), experts)


def fall(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The nearest sequence that never rises over its first coordinate (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for _, value in sorted(points):
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            value_, count = blocks.pop()
            total = blocks[-1][1] + count
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + value_ * count) / total, total]
    flat = [value for value, count in blocks for _ in range(int(count))]
    return [(x, y) for (x, _), y in zip(sorted(points), flat, strict=True)]


def line(points: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Intercept, slope and residual deviation of a straight line."""
    slope, intercept = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return intercept, slope, statistics.stdev(y - intercept - slope * x for x, y in points)


def usable(row: Measurement) -> tuple[str, float] | None:
    """(kind, loss) of a row that says something beyond noise."""
    for kind, loss in (("divergence", row.kl_divergence), ("task", row.task_loss_pct)):
        if loss is not None and loss >= LEAST[kind]:
            return kind, loss
    return None


def size_slope() -> tuple[float, int]:
    """Change of the logarithm of a loss with the logarithm of the size: same family, same format, same metric."""
    series: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in measurements():
        found = usable(row)
        if found is not None and row.weight_format != "gguf:F16":
            family = re.sub(r"\d+(?:\.\d+)?B", "", row.model, flags=re.IGNORECASE)
            series[family, row.weight_format, row.metric].append((size_of(row.model), math.log(found[1])))
    above = below = 0.0
    used = 0
    for points in series.values():
        if len({x for x, _ in points}) > 1:
            x0, y0 = statistics.fmean(x for x, _ in points), statistics.fmean(y for _, y in points)
            above += math.fsum((x - x0) * (y - y0) for x, y in points)
            below += math.fsum((x - x0) ** 2 for x, _ in points)
            used += len(points)
    return above / below, used


def reference_bits() -> dict[str, float]:
    """Bits per weight of each mix on the reference: printed, or from the file's size beside that of Q8_0."""
    rows = [row for row in measurements() if row.model == REFERENCE and row.size_gib]
    whole = next(row for row in rows if row.weight_format == "gguf:Q8_0")
    assert whole.bits_per_weight is not None and whole.size_gib is not None
    unit = whole.bits_per_weight / whole.size_gib
    return {plain_mix(row.weight_format): row.bits_per_weight or unit * row.size_gib for row in rows}  # type: ignore[operator]


def gguf_family(mix: str) -> str:
    """K, I or legacy."""
    return "gguf_i" if mix.startswith("IQ") else "gguf_k" if "_K" in mix else "gguf_legacy"


def gguf_ladders() -> dict[str, dict[str, tuple[float, float]]]:
    """(bits, log divergence) of the mixes by family; Q8_0 ends every family."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in measurements():
        if row.model == REFERENCE and row.metric.startswith("mean KL") and row.weight_format != "gguf:F16":
            values[plain_mix(row.weight_format)].append(math.log(row.value))
    bits = reference_bits()
    families: dict[str, dict[str, tuple[float, float]]] = {}
    for family in ("gguf_k", "gguf_i", "gguf_legacy"):
        names = sorted((m for m in values if m == "Q8_0" or gguf_family(m) == family), key=lambda m: bits[m])
        fallen = fall([(bits[name], statistics.fmean(values[name])) for name in names])
        families[family] = dict(zip(names, fallen, strict=True))
    return families


def model_offsets(ladder: dict[str, float], slope: float) -> tuple[dict[str, float], float]:
    """How much more a model loses than the reference, in logarithm, beyond its size; and the scatter within a model."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in measurements():
        loss, mix = row.kl_divergence, plain_mix(row.weight_format)
        direct = row.metric.startswith("mean KL")
        if row.model != REFERENCE and mix in ladder and loss is not None and (direct or loss >= LEAST["divergence"]):
            found[row.model].append(math.log(loss) - ladder[mix] - slope * size_of(row.model))
    scatter = [value - statistics.fmean(values) for values in found.values() for value in values]
    return {REFERENCE: 0.0, **{model: statistics.fmean(values) for model, values in found.items()}}, statistics.stdev(
        scatter
    )


def task_law(ladder: dict[str, float]) -> tuple[float, float, float]:
    """Log of the lost share of a score (percent) over log divergence, where both are known for the same files."""
    measured = {
        (row.model, row.weight_format): row.kl_divergence for row in measurements() if row.metric.startswith("mean KL")
    }
    points = []
    for row in measurements():
        loss, mix = row.task_loss_pct, plain_mix(row.weight_format)
        if loss is None or loss < LEAST["task"] or not row.weight_format.startswith("gguf:"):
            continue
        known = measured.get((row.model, row.weight_format))
        divergence = math.log(known) if known else ladder[mix] if row.model == TWIN else None
        if divergence is not None and divergence < math.log(0.9):  # beyond, scores lie near chance
            points.append((divergence, math.log(loss)))
    return line(points)


def other_nodes(
    offsets: dict[str, float], slope: float, law: tuple[float, float, float]
) -> tuple[dict[str, list[float]], list[str]]:
    """Log divergence on the reference scale of every other format, one value a model; and those lost in the noise."""
    noisy = []
    usual = statistics.fmean(offsets.values())
    own = {**offsets, TWIN: 0.0}
    losses: dict[tuple[str, str], list[float]] = defaultdict(list)
    nodes: dict[str, list[float]] = defaultdict(list)
    for row in measurements():
        if row.weight_format.startswith("gguf:"):
            continue
        shift = own.get(row.model, usual) + slope * size_of(row.model)
        if row.kl_divergence is not None:
            nodes[row.weight_format].append(math.log(row.kl_divergence) - shift)
        elif row.task_loss_pct is not None:
            losses[row.weight_format, row.model].append(row.task_loss_pct)
    for name in sorted({name for name, _ in losses}):
        by_model = {model: values for (of, model), values in losses.items() if of == name}
        middle = statistics.median(value for values in by_model.values() for value in values)
        if middle < NOISE_TASK_PCT:
            # scores rise as often as they fall: one value for all models, and size cannot be seen in it
            noisy += [] if name.startswith("exl") else [name]  # a ladder of widths shows the loss that one width hides
            shift = statistics.fmean(own.get(model, usual) for model in by_model)
            nodes[name].append((math.log(max(FLOOR_TASK_PCT, middle)) - law[0]) / law[1] - shift)
            continue
        for model, values in by_model.items():
            loss = math.log(max(FLOOR_TASK_PCT, statistics.fmean(values)))
            nodes[name].append((loss - law[0]) / law[1] - own.get(model, usual) - slope * size_of(model))
    return nodes, noisy


def thresholds(ladder: dict[str, float]) -> list[dict[str, object]]:
    """Divergence between two classes: half way, in logarithm, from the worst of one to the best of the next."""
    names = quality_classes()
    by_class: dict[str, list[float]] = defaultdict(list)
    for mix, value in ladder.items():
        bits = parse_format(f"gguf:{mix}").effective_bits()
        by_class[next(name for name, least in names if bits >= least)].append(value)
    limits: list[dict[str, object]] = [{"class": "original", "most": 0.0}]
    kept = [name for name, _ in names if name in by_class]
    for better, worse in itertools.pairwise(kept):
        limits.append({"class": better, "most": round(math.exp((max(by_class[better]) + min(by_class[worse])) / 2), 4)})
    return [*limits, {"class": kept[-1], "most": None}]


def disagreements(
    families: dict[str, dict[str, tuple[float, float]]], limits: list[dict[str, object]], noisy: list[str]
) -> list[list[str]]:
    """Formats whose class by bits (search/quality_classes.toml) is another than by their measured loss."""
    found = []
    for family, members in sorted(families.items()):
        for name, (_, value) in members.items():
            full = f"gguf:{name}" if family.startswith("gguf") else name
            bits = parse_format(full).effective_bits()
            by_bits = next(kind for kind, least in quality_classes() if bits >= least)
            measured = next(
                str(row["class"]) for row in limits if row["most"] is None or math.exp(value) <= float(str(row["most"]))
            )
            if by_bits != measured and name not in noisy and [full, by_bits, measured] not in found:
                found.append([full, by_bits, measured])
    return found


def rounded(values: Iterable[float]) -> list[float]:
    """Four digits are more than any source prints."""
    return [round(value, 4) for value in values]


def text() -> str:
    """The file as it should be."""
    families = gguf_ladders()
    ladder = {mix: value for members in families.values() for mix, (_, value) in members.items()}
    ladder["Q8_0"] = families["gguf_k"]["Q8_0"][1]
    slope, slope_rows = size_slope()
    offsets, scatter = model_offsets(ladder, slope)
    law = task_law(ladder)
    nodes, noisy = other_nodes(offsets, slope, law)
    for family in ("exl2", "exl3"):
        names = sorted(
            (name for name in nodes if name.startswith(family)), key=lambda n: parse_format(n).effective_bits()
        )
        bits = [parse_format(name).effective_bits() for name in names]
        fallen = fall([(b, statistics.fmean(nodes[n])) for b, n in zip(bits, names, strict=True)])
        families[family] = dict(zip(names, fallen, strict=True))
    plain = {
        n: (parse_format(n).effective_bits(), statistics.fmean(v)) for n, v in nodes.items() if not n.startswith("exl")
    }
    families["packed"] = plain
    everything = fall([point for members in families.values() for point in members.values()])
    spread = [
        y - f
        for (_, y), (_, f) in zip(sorted(p for m in families.values() for p in m.values()), everything, strict=True)
    ]
    content = {
        "what": "written by tools/fit_format_quality.py from predict/data/format_losses.json; natural logarithms of nats",
        "reference": REFERENCE, "reference_weights": weights_of(REFERENCE),
        "size_slope": round(slope, 4), "size_slope_rows": slope_rows,
        "usual_offset": round(statistics.fmean(offsets.values()), 4),
        "model_sd": round(statistics.stdev(offsets.values()), 4), "within_model_sd": round(scatter, 4),
        "offsets": {model: round(value, 4) for model, value in sorted(offsets.items())},
        "task": rounded(law), "classes": thresholds(ladder),
        "disagreements": disagreements(families, thresholds(ladder), noisy), "within_noise": noisy,
        "families": {f: {n: rounded(p) for n, p in m.items()} for f, m in families.items()},
        "packed_sd": {n: round(statistics.stdev(nodes[n]), 4) for n in plain if len(nodes[n]) > 1},
        "any": [rounded(point) for point in everything], "any_sd": round(statistics.stdev(spread), 4),
    }  # fmt: skip
    return json.dumps(content, indent=1) + "\n"


def main() -> int:
    """Writes or checks the file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    wanted = text()
    same = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted
    if not check:
        TARGET.write_text(wanted, encoding="utf-8")
    elif not same:
        print(f"{TARGET.name} differs", file=sys.stderr)
    return int(check and not same)


if __name__ == "__main__":
    sys.exit(main())
