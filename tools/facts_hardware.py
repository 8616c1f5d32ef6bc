"""GPU facts: from `facts/gpus.json` to the package's hardware catalogue."""

import json
from pathlib import Path
from typing import Any

KEPT = (
    "id", "vendor", "names", "names_ambiguous", "short_names", "memory_bytes", "memory_kind", "memory_nominal_gb",
    "unified_memory", "devices_per_board", "bandwidth_bytes_per_s", "dense_flop_per_s", "compute_capability", "gfx",
    "metal_family", "other_architecture", "interconnects", "tdp_w", "notes", "uncertain", "basis", "sources", "checked",
)  # fmt: skip


def convert(shared: Path) -> tuple[dict[str, Any], list[str]]:
    """Rows of the hardware catalogue and a report of what is wrong with them."""
    source = json.loads((shared / "facts/gpus.json").read_text())
    rows = [{key: row[key] for key in KEPT} for row in source["rows"]]
    report = []
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            report.append(f"{row['id']}: twice")
        seen.add(row["id"])
        if not row["sources"]:
            report.append(f"{row['id']}: no source")
        if not row["memory_bytes"] or row["memory_bytes"] < 2**30:
            report.append(f"{row['id']}: memory {row['memory_bytes']}")
        if row["vendor"] == "nvidia" and not row["compute_capability"]:
            report.append(f"{row['id']}: no compute capability")
    return {"checked": source["checked"], "refs": source["refs"], "rows": rows}, report
