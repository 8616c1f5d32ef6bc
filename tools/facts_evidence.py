"""Evidence: the redistributable measured cases, without their log lines, to the package's `evidence/cases`."""

import json
from pathlib import Path
from typing import Any


def convert(shared: Path) -> tuple[dict[str, Any], list[str]]:
    """Case files by name, and a report of what was left out."""
    files: dict[str, Any] = {}
    report: list[str] = []
    for path in sorted((shared / "evidence").glob("*.json")):
        source = json.loads(path.read_text())
        kept = []
        for case in source["cases"]:
            if case["source"].get("redistributable") is not True:
                continue
            measured = {key: value for key, value in case["measured"].items() if key != "log_lines"}
            kept.append({**case, "measured": measured})
        left_out = len(source["cases"]) - len(kept)
        if kept:
            files[path.name] = {"schema": source["schema"], "cases": kept}
        print(f"evidence {path.name}: {len(kept)} cases kept, {left_out} not redistributable")
    return files, report
