"""Rental prices: the rows of `facts/prices.json` that may be redistributed, with those of `price_sources.toml`."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TIERS = {"on-demand", "spot", "marketplace median"}
DATE = re.compile(r"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
REGION = re.compile(r"\b[a-z]{2,}-[a-z]+\d\b")
KEPT = (
    "gpu", "gpu_as_printed", "provider", "region", "gpus_in_offer", "usd_per_gpu_hour", "tier", "price_date", "source",
    "transcribed_by", "licence", "note", "checked",
)  # fmt: skip


def convert(shared: Path, gpu_ids: set[str]) -> tuple[dict[str, Any], list[str]]:
    """The price list of the package and a report of what is wrong with it; prints what was left out."""
    source = json.loads((shared / "facts/prices.json").read_text())
    sources = tomllib.loads((HERE / "price_sources.toml").read_text())
    report: list[str] = []
    kept: list[dict[str, Any]] = _extra(sources["extra"], _licence(sources, sources["extra"]["transcribed_by"])[0])
    left_out: dict[str, int] = {}
    for row in source["rows"]:
        licence, why_not = _licence(sources, row["transcribed_by"])
        if licence == "unknown":
            report.append(f"prices: {row['transcribed_by']} is not in price_sources.toml")
        if why_not is not None:
            left_out[why_not] = left_out.get(why_not, 0) + 1
            continue
        region = REGION.search(row["note"] or "")
        kept.append({**row, "licence": licence, "region": region[0] if region else None})
    rows = _newest([{key: row[key] for key in KEPT} for row in kept])
    for row in rows:
        report += [f"prices: {row['gpu']} {row['provider']}: {problem}" for problem in _problems(row, gpu_ids)]
    if source["currency"] != "USD":
        report.append(f"prices: currency {source['currency']}")
    for why, count in sorted(left_out.items()):
        print(f"prices: {count} rows left out: {why}")
    refs = [f"{sources['extra']['transcribed_by']}@{sources['extra']['commit']} (CC BY 4.0)", *source["refs"]]
    head = {"checked": source["checked"], "currency": source["currency"], "what": source["what"], "refs": refs}
    return {**head, "rows": rows}, report


def _licence(sources: dict[str, Any], transcribed_by: str) -> tuple[str, str | None]:
    """(licence, why the row stays out or None)."""
    for item in sources["transcribers"]:
        if transcribed_by.startswith(item["starts_with"]):
            return item["licence"], None if item["redistributable"] else f"{item['starts_with']}: {item['why']}"
    return "unknown", "unknown transcriber"


def _extra(extra: dict[str, Any], licence: str) -> list[dict[str, Any]]:
    names = (
        "gpu", "gpu_as_printed", "provider", "gpus_in_offer", "usd_per_gpu_hour", "tier", "price_date", "source",
        "region", "note",
    )  # fmt: skip
    rows = [dict(zip(names, cells, strict=True)) for cells in extra["rows"]]
    common = {"transcribed_by": extra["transcribed_by"], "licence": licence, "checked": extra["checked"]}
    return [{**row, **common, "region": row["region"] or None, "note": row["note"] or None} for row in rows]


def _newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an offer: the newest, in a fixed order."""
    chosen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["price_date"] or ""):
        chosen[tuple(row[key] for key in ("gpu", "provider", "region", "gpus_in_offer", "tier"))] = row
    return sorted(
        chosen.values(), key=lambda row: (str(row["gpu"]), row["provider"], row["tier"], row["gpus_in_offer"])
    )


def _problems(row: dict[str, Any], gpu_ids: set[str]) -> list[str]:
    checks = (
        (row["gpu"] in gpu_ids, "the GPU is not in the catalogue"),
        (bool(DATE.fullmatch(row["price_date"] or "")), f"date {row['price_date']}"),
        (bool(row["source"] and row["transcribed_by"] and row["licence"]), "no source"),
        (row["tier"] in TIERS, f"tier {row['tier']}"),
        (isinstance(row["usd_per_gpu_hour"], int | float) and row["usd_per_gpu_hour"] > 0, "no price"),
        (isinstance(row["gpus_in_offer"], int) and row["gpus_in_offer"] >= 1, "no count of GPUs"),
    )
    return [problem for good, problem in checks if not good]
