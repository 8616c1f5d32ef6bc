"""Makes the compact table of kernel efficiencies that the step model reads.

    python tools/make_efficiency_table.py FACTS           write src/fitserve/predict/data/efficiency.json
    python tools/make_efficiency_table.py FACTS --check   exit 1 when a new table differs from the file

FACTS is the folder with kernel_efficiency.json. Per GPU and engine, and `*` for the median of the engines; fp8-block GEMM
rows of vLLM 0.24.0 were measured outside CUDA graphs and are left out, as are eager collectives.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "src/fitserve/predict/data/efficiency.json"
WEIGHTS = ["<4MB", "4-16MB", "16-64MB", "64-256MB", ">256MB"]
BATCH = ["m 32-64", "m 128", "m 256", "m 512", "m 1024", "m 2048", "m 4096", "m 8192+"]
LENGTHS = [f"sequence {n}" for n in (16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384)]
CACHE = ["<1MB", "1-8MB", "8-64MB", "64-512MB", ">512MB"]
EXPERTS = ["tokens 1", "tokens 2-8", "tokens 16-64", "tokens 128-512", "tokens 1k-4k", "tokens 8k+"]
MESSAGES = ["<= 16 KB", "16384 bytes", "65536 bytes", "262144 bytes", "1048576 bytes", "8388608 bytes", ">= 32 MB"]
KINDS = {
    "gemm": (
        ("weights", "weight-read bandwidth utilisation, m <= 16", WEIGHTS),
        ("flop", "roofline utilisation", BATCH),
        ("floor_us", "smallest latency us", [None]),
    ),
    "attention prefill": (("flop", "flop utilisation", LENGTHS),),
    "attention decode": (
        ("cache", "KV-read bandwidth utilisation", CACHE),
        ("floor_us", "smallest latency us", [None]),
    ),
    "moe": (("roofline", "roofline utilisation", EXPERTS), ("floor_us", "smallest latency us", [None])),
    "collective all_reduce": (("all_reduce", "", MESSAGES),),
}


def usable(row: list[Any]) -> bool:
    """Whether a row is of a kernel that serves requests."""
    op, _, engine, version, name = row[:5]
    if op == "gemm" and engine == "vllm" and version == "0.24.0" and name == "fp8-block":
        return False
    return op in KINDS and not (op.startswith("collective") and "eager" in name)


def values(rows: list[list[Any]], metric: str, sizes: list[Any]) -> list[float | None]:
    """The median over releases and routings of each size; None where nothing was measured."""
    found = []
    for size in sizes:
        cells = [row[7] for row in rows if row[5].startswith(metric) and row[6] == size and row[7] is not None]
        found.append(float(f"{statistics.median(cells):.3g}") if cells else None)
    return found


def table(path: Path) -> dict[str, Any]:
    """The whole table."""
    groups: dict[tuple[str, str, str, str], list[list[Any]]] = defaultdict(list)
    for row in json.loads(path.read_text())["rows"]:
        if usable(row):
            name = row[4].split(", ")[-1] if row[0].startswith("collective") else row[4]
            for engine in {row[2], "*"} if not row[0].startswith("collective") else {row[2]}:
                groups[row[0], row[1], engine, name].append(row)
    made: dict[str, Any] = {}
    for (op, gpu, engine, name), rows in sorted(groups.items()):
        entry = {key: values(rows, metric, sizes) for key, metric, sizes in KINDS[op]}
        if any(all(value is None for value in cells) for key, cells in entry.items() if key != "floor_us"):
            continue
        made.setdefault(op, {}).setdefault(gpu, {}).setdefault(engine, {})[name] = entry
    return made


def text(path: Path) -> str:
    """The file: one GPU and operation a line."""
    head = json.dumps(
        {"source": "aiconfigurator 095f58a (Apache-2.0), measured operator tables", "checked": "2026-11-20"}
    )
    lines = []
    for op, gpus in table(path).items():
        rows = ",\n".join(
            f"{json.dumps(gpu)}:{json.dumps(cells, separators=(',', ':'))}" for gpu, cells in gpus.items()
        )
        lines.append(f"{json.dumps(op)}:{{\n{rows}\n}}")
    return head[:-1] + ",\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Writes or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facts", type=Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    made = text(args.facts / "kernel_efficiency.json")
    if args.check:
        same = TARGET.read_text() == made
        print("same" if same else f"{TARGET} differs", file=sys.stderr)
        return 0 if same else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
