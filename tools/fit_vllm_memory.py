"""Fits the coefficients of vLLM's memory law from the measured cases in the package.

    python tools/fit_vllm_memory.py           write src/fitserve/engines/vllm/coefficients.json
    python tools/fit_vllm_memory.py --check   exit 1 when a new fit differs from the file

Only cases without doubt whose licence lets them travel with the package are used, so that anybody can repeat the fit.
Each coefficient lists its cases.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from fitserve.engines.vllm import activations
from fitserve.engines.vllm.activations import BatchLimits
from fitserve.engines.vllm.load import loaded_bytes
from fitserve.foundation.units import GIB
from fitserve.foundation.versions import in_range
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.models.names import resolve_name

ROOT = Path(__file__).parents[1] / "src/fitserve"
CASES = ROOT / "evidence/cases/vllm_memory.json"
TARGET = ROOT / "engines/vllm/coefficients.json"
H100 = BatchLimits(batched_tokens=8192, sequences=1024)
VERSIONS = ({"from": None, "to": "0.16.0"}, {"from": "0.17.0", "to": None})
LEAN_RUNTIME = ({"from": None, "to": "0.17.1"}, {"from": "0.18.0", "to": None})


def usable_cases() -> list[dict[str, Any]]:
    """Started servers on H100 with a named model and format."""
    cases = json.loads(CASES.read_text())["cases"]
    return [
        case
        for case in cases
        if not case["doubt"]
        and "activations_gib" in case["measured"]
        and {"model", "weight_format", "gpu", "tp"} <= set(case["given"])
        and case["given"]["gpu"].startswith("h100")
    ]


def facts_of(case: dict[str, Any]) -> dict[str, Any]:
    """Model, format and measured bytes of a case."""
    given, measured = case["given"], case["measured"]
    model = catalog_model(resolve_name(given["model"]).id)
    weight_format, tp = parse_format(given["weight_format"]), given["tp"]
    stage = range(len(model.layers))
    return {
        "id": case["id"],
        "model": model,
        "format": weight_format,
        "tp": tp,
        "stage": stage,
        # the guide that prints no version shows the image of 0.11.0
        "version": given.get("engine_version", "0.11.0"),
        "workspace": activations.expert_workspace_bytes(model, weight_format, tp, H100, stage),
        "hidden": activations.hidden_bytes(model, H100),
        "logits": activations.sampler_logits(model, H100),
        "forward": activations.forward_bytes(model, tp, H100, stage),
        **{
            key: measured[key] * GIB
            for key in ("activations_gib", "non_torch_gib", "cuda_graphs_gib", "weights_gib")
            if key in measured
        },
    }


def _rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def sampler(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bytes per logit, from cases where the sampler rules (vocabulary of 100k and more)."""
    rows = []
    for span in VERSIONS:
        chosen = [
            f for f in facts if in_range(f["version"], span["from"], span["to"]) and f["model"].vocab_size >= 100_000
        ]
        ratios = [(f["activations_gib"] - f["hidden"] - f["workspace"]) / f["logits"] for f in chosen]
        rows.append({**span, "value": _rounded(statistics.median(ratios)), "cases": sorted(f["id"] for f in chosen)})
    return rows


def forward_scale(facts: list[dict[str, Any]], per_logit: float) -> dict[str, Any]:
    """Measured peak over the forward estimate, where the forward pass rules."""
    chosen = [
        f
        for f in facts
        if f["model"].vocab_size < 100_000
        and not f["workspace"]
        and f["activations_gib"] > 1.1 * (per_logit * f["logits"] + f["hidden"])
    ]
    value = statistics.median((f["activations_gib"] - f["workspace"]) / f["forward"] for f in chosen)
    return {"value": _rounded(value), "cases": sorted(f["id"] for f in chosen)}


def runtime(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Memory outside PyTorch, for one rank and for several."""
    rows = []
    for parallel in (False, True):
        for span in LEAN_RUNTIME:
            chosen = [
                f
                for f in facts
                if (f["tp"] > 1) == parallel
                and in_range(f["version"], span["from"], span["to"])
                and "non_torch_gib" in f
            ]
            if chosen:
                rows.append(
                    {
                        **span,
                        "parallel": parallel,
                        "value": round(statistics.median(f["non_torch_gib"] for f in chosen)),
                        "cases": sorted(f["id"] for f in chosen),
                    }
                )
    return rows


def solve(matrix: list[list[float]], values: list[float]) -> list[float]:
    """Least squares by the normal equations (four unknowns)."""
    size = len(matrix[0])
    rows = [
        [sum(r[i] * r[j] for r in matrix) for j in range(size)]
        + [sum(r[i] * v for r, v in zip(matrix, values, strict=True))]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(rows[r][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for other in range(size):
            if other != column:
                factor = rows[other][column] / rows[column][column]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def graphs(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Linear law of CUDA graph memory; one case per model and parallel size, releases with full graphs."""
    chosen = {
        (f["model"].id, f["tp"], f["format"].name): f
        for f in facts
        if in_range(f["version"], "0.18.0", None) and "cuda_graphs_gib" in f
    }
    matrix, values = [], []
    for f in chosen.values():
        moe = 1.0 if any(layer.experts for layer in f["model"].layers) else 0.0
        matrix.append([1.0, len(f["model"].layers) / 100, f["model"].hidden_size / 10_000, moe])
        values.append(f["cuda_graphs_gib"] / GIB)
    constant, layer, hidden, moe = solve(matrix, values)
    terms = {
        "constant": constant * GIB,
        "layer": layer * GIB / 100,
        "hidden": hidden * GIB / 10_000,
        "experts": moe * GIB,
    }
    return {
        "terms": {key: round(value) for key, value in terms.items()},
        "cases": sorted(f["id"] for f in chosen.values()),
    }


def spread(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Middle 90 % of measured less predicted, per item: bytes, except weights, which are relative."""
    errors: dict[str, list[float]] = {"weights": [], "activations": [], "runtime": [], "cuda_graphs": []}
    for f in facts:
        model, tp, stage = f["model"], f["tp"], f["stage"]
        if "weights_gib" in f:
            predicted = loaded_bytes(model, f["format"], tp, 1, stage, 1)
            errors["weights"].append(f["weights_gib"] / predicted - 1)
        peak = activations.activation_bytes(model, f["format"], f["version"], tp, H100, stage, True)
        errors["activations"].append(f["activations_gib"] - peak)
        errors["runtime"].append(f["non_torch_gib"] - activations.runtime_bytes(f["version"], tp))
        if "cuda_graphs_gib" in f and in_range(f["version"], "0.18.0", None):
            errors["cuda_graphs"].append(f["cuda_graphs_gib"] - activations.graph_bytes(model, stage))
    out = {}
    for name, values in errors.items():
        values.sort()
        low, high = values[round(0.05 * (len(values) - 1))], values[round(0.95 * (len(values) - 1))]
        digits = (lambda v: _rounded(v, 3)) if name == "weights" else round
        out[name] = {"low": digits(min(low, 0.0)), "high": digits(max(high, 0.0)), "cases": len(values)}
    return out


def fit() -> dict[str, Any]:
    """All coefficients."""
    facts = [facts_of(case) for case in usable_cases()]
    result: dict[str, Any] = {
        "generated_by": "tools/fit_vllm_memory.py from evidence/cases/vllm_memory.json; do not edit",
        "conditions": "H100 80 GB, max_num_batched_tokens 8192, max_num_seqs 1024 (the server's defaults there)",
        "sampler_bytes_per_logit": sampler(facts),
    }
    result["forward_scale"] = forward_scale(facts, result["sampler_bytes_per_logit"][-1]["value"])
    result["runtime_bytes"] = runtime(facts)
    result["graph_bytes"] = graphs(facts)
    activations.coefficients = lambda: result  # the spread is that of the new fit
    result["spread"] = spread(facts)
    return result


def main() -> int:
    """Fits, then writes or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = json.dumps(fit(), indent=1) + "\n"
    if arguments.check:
        same = TARGET.read_text() == text
        print("the fit is unchanged" if same else "a new fit differs from coefficients.json")
        return 0 if same else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
