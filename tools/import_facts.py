"""Brings the facts pack into the package: one command, which converts, checks and writes.

    python tools/import_facts.py FACTS_PACK          write what changed
    python tools/import_facts.py FACTS_PACK --check  write nothing; exit 1 when the package differs

FACTS_PACK is the folder that holds `facts/` and `evidence/`. The import stops when a check fails.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import facts_engines
import facts_evidence
import facts_failures
import facts_hardware
import facts_models
import facts_prices
import facts_quality

PACKAGE = Path(__file__).parents[1] / "src/fitserve"


def dump(content: dict[str, Any]) -> str:
    """One row a line, keys in the given order, so that a change shows as one line."""
    rows_key = next((key for key in ("rows", "cases") if key in content), None)
    if rows_key is None:
        return json.dumps(content, ensure_ascii=False, indent=0) + "\n"
    head = {key: value for key, value in content.items() if key != rows_key}
    lines = [f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    rows = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in content[rows_key])
    return "{\n" + "\n".join(lines) + f'\n"{rows_key}":[\n{rows}\n]\n}}\n'


def model_files(shared: Path) -> tuple[dict[str, Any], list[str]]:
    """The model catalogue with the extra models, and the aliases."""
    rows, aliases, report = facts_models.convert(shared)
    extra, extra_aliases, extra_report = facts_models.extra_models(rows)
    header = json.loads((shared / "facts/models.json").read_text())
    aliases = {**extra_aliases, **aliases}
    return {
        "models/catalog/models.json": {"checked": header["checked"], "refs": header["refs"], "rows": rows + extra},
        "models/catalog/aliases.json": {"rows": [[alias, aliases[alias]] for alias in sorted(aliases)]},
        "models/catalog/gguf_types.json": json.loads((shared / "facts/gguf_types.json").read_text()),
    }, report + extra_report


def main() -> int:
    """Converts, checks, writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facts_pack", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    files, report = model_files(arguments.facts_pack)
    hardware, found = facts_hardware.convert(arguments.facts_pack)
    files["hardware/catalog/gpus.json"] = hardware
    report += found
    prices, found = facts_prices.convert(arguments.facts_pack, {row["id"] for row in hardware["rows"]})
    files["predict/data/prices.json"] = prices
    report += found
    engines, found = facts_engines.convert(arguments.facts_pack)
    files |= {f"engines/{name}": content for name, content in engines.items()}
    report += found
    evidence, found = facts_evidence.convert(arguments.facts_pack)
    files |= {f"evidence/cases/{name}": content for name, content in evidence.items()}
    report += found
    failures, found = facts_failures.convert(arguments.facts_pack)
    files |= failures
    report += found
    quality, found = facts_quality.convert(arguments.facts_pack)
    files |= quality
    report += found
    if report:
        print("\n".join(report), file=sys.stderr)
        return 1
    changed = [name for name, content in files.items() if not _same(PACKAGE / name, dump(content))]
    for name in changed:
        if not arguments.check:
            (PACKAGE / name).parent.mkdir(parents=True, exist_ok=True)
            (PACKAGE / name).write_text(dump(files[name]), encoding="utf-8")
        print(("differs: " if arguments.check else "wrote ") + name)
    print(f"{len(files)} files, {len(changed)} changed")
    return 1 if arguments.check and changed else 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
