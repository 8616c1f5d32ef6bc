"""Quality facts: published benchmark results, what models are for, and measured losses of weight formats.

Benchmark rows are kept when a purpose counts them, the model is no base model, and at least one other model stands in
the same table: only then is there something to compare. Rows are short arrays that point into lists in the head.
"""

import json
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "src/fitserve/predict/data"
AREAS = {
    "chat": "general", "instruction": "general", "overall": "general", "knowledge": "general",
    "reasoning": "reasoning", "coding": "tasks", "agentic-coding": "tasks", "tools": "tasks",
    "korean": "long_and_korean", "long-context": "long_and_korean",
}  # fmt: skip
COLUMNS = (
    "model", "benchmark", "setting", "table", "mode", "value", "reporter", "source", "date", "doubt", "half_interval",
)  # fmt: skip
PURPOSE_KEPT = (
    "model", "base", "korean", "tool_calling", "vision", "reasoning_mode", "coding_specialised", "commercial_use",
    "knowledge_cutoff", "vllm_tool_call_parser", "vllm_reasoning_parser",
)  # fmt: skip
YES_NO = {"yes", "no", "unknown"}
_INTERVAL = re.compile(r"; 95% interval (\d+)-(\d+)")
_OF_THE_MODEL = re.compile(r"; effective length \S+")
MOST_BYTES = 150_000


def convert(shared: Path) -> tuple[dict[str, Any], list[str]]:
    """Files below the package by name, and a report of what is wrong with the facts."""
    catalogue = {row["id"] for row in json.loads((shared / "facts/models.json").read_text())["rows"]}
    purposes = json.loads((shared / "facts/model_purposes.json").read_text())
    report = _check_purposes(purposes["rows"], catalogue)
    benchmarks, found = _benchmarks(shared, catalogue, {row["model"] for row in purposes["rows"] if row["base"]})
    losses, lost = _losses(shared, catalogue)
    files = {f"predict/data/benchmarks_{area}.json": content for area, content in benchmarks.items()}
    files["predict/data/format_losses.json"] = losses
    files["models/catalog/purposes.json"] = {
        "checked": purposes["checked"], "refs": purposes["refs"], "columns": PURPOSE_KEPT,
        "rows": [[row[key] for key in PURPOSE_KEPT] for row in purposes["rows"]],
    }  # fmt: skip
    report += found + lost
    for name, content in files.items():
        if (size := len(json.dumps(content["rows"], ensure_ascii=False, separators=(",", ":")).encode())) > MOST_BYTES:
            report.append(f"{name}: {size} bytes")
    return files, report


def _check_purposes(rows: list[dict[str, Any]], catalogue: set[str]) -> list[str]:
    report = []
    for row in rows:
        if row["model"] not in catalogue:
            report.append(f"purpose of an unknown model: {row['model']}")
        for key in ("korean", "tool_calling", "vision"):
            if row[key] not in YES_NO:
                report.append(f"{row['model']}: {key} {row[key]}")
        if row["commercial_use"] not in YES_NO | {"conditions"}:
            report.append(f"{row['model']}: commercial_use {row['commercial_use']}")
    return report


def _counted() -> set[str]:
    table = tomllib.loads((DATA / "purposes.toml").read_text(encoding="utf-8"))
    return {name for purpose in table["purposes"] for name in purpose["benchmarks"]}


def _comparable(row: dict[str, Any]) -> tuple[str, str | None, str | None]:
    setting = row["setting"] and _OF_THE_MODEL.sub("", _INTERVAL.sub("", row["setting"]))
    return row["benchmark"], setting, row.get("table")


def _check_benchmark(row: dict[str, Any], known: dict[str, Any], catalogue: set[str]) -> list[str]:
    what = f"{row['model']} {row['benchmark']} {row['value']}"
    report = []
    if row["model"] not in catalogue:
        report.append(f"{what}: model not in the catalogue")
    if row["benchmark"] not in known or not known[row["benchmark"]]["higher_is_better"]:
        report.append(f"{what}: unknown benchmark, or lower is better")
    if row["unit"] == "%" and not 0 <= row["value"] <= 100:
        report.append(f"{what}: not a percentage")
    if row["unit"] == "Elo" and not 500 <= row["value"] <= 2000:
        report.append(f"{what}: not a rating")
    if not row["source"] or row["reported_by"].split(":")[0] not in {"maker", "other maker", "independent"}:
        report.append(f"{what}: no source or reporter")
    return report


def _benchmarks(shared: Path, catalogue: set[str], base: set[str]) -> tuple[dict[str, Any], list[str]]:
    source = json.loads((shared / "facts/model_benchmarks.json").read_text())
    counted = _counted()
    report = [line for row in source["rows"] for line in _check_benchmark(row, source["benchmarks"], catalogue)]
    report += [f"purposes.toml counts {name}, which no row has" for name in counted - set(source["benchmarks"])]
    rows = [
        row
        for row in source["rows"]
        if row["benchmark"] in counted and row.get("table") and row["model"] not in base and row["mode"] != "base"
    ]
    together = defaultdict(set)
    for row in rows:
        together[_comparable(row)].add((row["model"], row["mode"]))
    files: dict[str, Any] = {}
    for area in sorted(set(AREAS.values())):
        mine = [
            row
            for row in rows
            if AREAS[source["benchmarks"][row["benchmark"]]["area"]] == area and len(together[_comparable(row)]) > 1
        ]
        files[area] = {"checked": source["checked"], "refs": source["refs"], **_packed(mine)}
    return files, report


def _packed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    lists: dict[str, dict[Any, int]] = {key: {} for key in COLUMNS if key not in {"value", "half_interval"}}
    packed = []
    for row in rows:
        benchmark, setting, table = _comparable(row)
        interval = _INTERVAL.search(row["setting"] or "")
        cells = {
            "model": row["model"], "benchmark": benchmark, "setting": setting, "table": table, "mode": row["mode"],
            "reporter": row["reported_by"], "source": _address(row), "date": row["date"], "doubt": row["doubt"],
        }  # fmt: skip
        line: list[Any] = []
        for column in COLUMNS:
            if column == "value":
                line.append(row["value"])
            elif column == "half_interval":
                line += [(int(interval[2]) - int(interval[1])) / 2] if interval else []
            else:
                line.append(lists[column].setdefault(cells[column], len(lists[column])))
        packed.append(line)
    units = {row["benchmark"]: row["unit"] for row in rows}
    return {"columns": COLUMNS, "units": units, **{key: list(values) for key, values in lists.items()}, "rows": packed}


def _address(row: dict[str, Any]) -> str:
    """Where the figure was printed, and through which copy it was read."""
    return f"{row['source']} (read in {row['via']})" if row.get("via") else str(row["source"])


LOSS_KEPT = (
    "model", "weight_format", "method", "importance_matrix", "metric", "baseline", "value", "bits_per_weight",
    "size_gib", "recalled", "source",
)  # fmt: skip


def _losses(shared: Path, catalogue: set[str]) -> tuple[dict[str, Any], list[str]]:
    source = json.loads((shared / "facts/quality.json").read_text())
    report, rows = [], []
    for row in source["rows"]:
        if row["in_catalogue"] != (row["model"] in catalogue):
            report.append(f"quality of {row['model']}: in_catalogue is wrong")
        if not row["source"]:
            report.append(f"quality of {row['model']} {row['method']}: no source")
        if not isinstance(row["value"], int | float) or row["baseline"] is None or "GB" in row["metric"]:
            continue  # statements and sizes: nothing to calculate with
        if row["value"] < 0 and row["in_catalogue"]:
            report.append(f"quality of {row['model']} {row['method']}: {row['metric']} {row['value']}")
        if row["weight_format"] and row["in_catalogue"]:
            rows.append([*(row[key] for key in LOSS_KEPT)])
    extra, kv = _extra_losses()
    return {"checked": source["checked"], "refs": source["refs"], "columns": LOSS_KEPT, "kv_columns": KV_KEPT, "kv": kv,
            "rows": rows + extra}, report  # fmt: skip


KV_KEPT = ("model", "kv_format", "metric", "baseline", "value", "context_tokens", "source")


def _extra_losses() -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows entered by hand: of weights in the columns above, and of the KV cache."""
    tables = tomllib.loads((Path(__file__).parent / "quality_extra.toml").read_text(encoding="utf-8"))
    weights = []
    for table in tables["weights"]:
        for model, name, metric, baseline, value in table["rows"]:
            cells = {
                "model": model, "weight_format": name, "method": name, "metric": metric, "baseline": baseline,
                "value": value, "recalled": False, "source": table["source"],
            }  # fmt: skip
            weights.append([cells.get(key) for key in LOSS_KEPT])
    kv = [[*row, table.get("context_tokens"), table["source"]] for table in tables["kv"] for row in table["rows"]]
    return weights, kv
