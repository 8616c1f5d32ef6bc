"""Option lists, architectures and quantization methods of SGLang releases, from unpacked PyPI packages.

pip download --no-deps sglang==0.5.23 -d W && unzip W/*.whl -d SOURCES/0.5.23
python tools/scan_sglang.py SOURCES src/fitserve/engines/sglang
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import Version

from scan_options import Sources, argparse_rows, field_rows, lifetimes, merged

CHECKED = "2026-11-20"
LISTED = ("0.4.6.post5", "0.5.1.post3", "0.5.6.post2", "0.5.9", "0.5.14", "0.5.18", "0.5.23")
"""Releases whose full list is kept; the others count for lifetimes, architectures and methods only."""


def sources_of(root: Path) -> Sources:
    """Files that declare options or the constants that they name."""
    base = root / "sglang/srt"
    paths = [base / "server_args.py", *sorted((base / "arg_groups").rglob("*.py"))]
    paths += [base / "function_call/function_call_parser.py", base / "function_call/parser_names.py"]
    paths += [
        base / "parser/reasoning_parser.py",
        base / "reasoning_parser.py",
        base / "parser/reasoning_parser_names.py",
    ]
    paths += [base / "lora/utils.py", base / "utils/common.py", base / "utils.py", base / "configs/mamba_utils.py"]
    return Sources.read(paths)


def options(root: Path) -> list[dict[str, Any]]:
    """Rows of one release."""
    sources = sources_of(root)
    server = Sources.read([root / "sglang/srt/server_args.py"])
    server.constants, server.classes, server.functions = sources.constants, sources.classes, sources.functions
    declared = Sources(trees={p: t for p, t in sources.trees.items() if "fields" in p.parts})
    declared.constants, declared.classes, declared.functions = sources.constants, sources.classes, sources.functions
    return merged(
        [
            *argparse_rows(server, "add_cli_args", "ServerArgs"),
            *field_rows(server, ["ServerArgs"]),
            *field_rows(declared),
        ]
    )


def architectures(root: Path) -> set[str]:
    """Names in `EntryClass` of the model files, which the registry serves (sglang/srt/models/registry.py)."""
    found: set[str] = set()
    for path in sorted((root / "sglang/srt/models").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8-sig")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EntryClass":
                parts = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
                found |= {part.id for part in parts if isinstance(part, ast.Name)}
    return found


def methods(root: Path) -> dict[str, int | None]:
    """Quantization method -> capability that its class demands of a CUDA device; None where it delegates."""
    folder = root / "sglang/srt/layers/quantization"
    demands: dict[str, int | None] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8-sig"))):
            if isinstance(node, ast.ClassDef):
                demands[node.name] = demands.get(node.name) or _demand(node)
    found: dict[str, int | None] = {}
    for table in ast.walk(ast.parse((folder / "__init__.py").read_text(encoding="utf-8-sig"))):
        if isinstance(table, ast.Dict):
            for key, maker in zip(table.keys, table.values, strict=True):
                if isinstance(key, ast.Constant) and getattr(maker, "id", "").endswith("Config"):
                    found.setdefault(str(key.value), demands.get(getattr(maker, "id", "")))
    return found


def _demand(node: ast.ClassDef) -> int | None:
    """What the last return of `get_min_capability` says; those before it are for other vendors."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "get_min_capability":
            last: ast.AST = part
            while isinstance(last, ast.FunctionDef | ast.If):
                last = last.orelse[-1] if isinstance(last, ast.If) and last.orelse else last.body[-1]
            value = last.value if isinstance(last, ast.Return) else None
            if isinstance(value, ast.IfExp):
                value = value.body if isinstance(value.test, ast.UnaryOp) else value.orelse
            if isinstance(value, ast.Constant) and isinstance(value.value, int):
                return value.value
    return None


def hybrid_windows(root: Path) -> list[str]:
    """Architectures that get a smaller pool for their windowed layers (model_config.py is_hybrid_swa_model)."""
    path = root / "sglang/srt/configs/model_config.py"
    if not path.is_file():
        return []
    tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    sources = Sources.read([path])
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "is_hybrid_swa_model":
            for part in ast.walk(node):
                if isinstance(part, ast.Set):
                    for element in part.elts:
                        inner = element.value if isinstance(element, ast.Starred) else element
                        value = sources.value(inner)
                        found |= (
                            {value} if isinstance(value, str) else set(value if isinstance(value, list | tuple) else ())
                        )
    return sorted(found)


def spans(by_version: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """First and last scanned release of every name."""
    return [
        {key: row["name"], "in": row["first_seen"], "not_in": row["not_in"], "gone_in": row["gone_in"]}
        for row in lifetimes(by_version)
    ]


def demand_rows(by_version: dict[str, dict[str, int | None]]) -> Iterator[dict[str, Any]]:
    """Methods with the capability they demand, by runs of releases with the same demand."""
    for row in spans(by_version, "method"):
        runs: list[dict[str, Any]] = []
        for version, found in by_version.items():
            if row["method"] in found and (not runs or runs[-1]["value"] != found[row["method"]]):
                runs.append({"from": version, "value": found[row["method"]]})
        yield {**row, "min_capability": runs}


def write(path: Path, header: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """One row per line, so that a change shows as a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=False)}," for key, value in header.items()]
    body = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    path.write_text("{\n" + "\n".join(head) + '\n"rows":[\n' + body + "\n]\n}\n", encoding="utf-8")


def main(source: Path, target: Path) -> None:
    """Scan every release below `source` and write the tables of the engine folder."""
    versions = sorted((p.name for p in source.iterdir() if (p / "sglang").is_dir()), key=Version)
    found = {version: options(source / version) for version in versions}
    names = {
        version: [n for row in rows for n in (row["name"], *row.get("aliases", ()), *row.get("negations", ()))]
        for version, rows in found.items()
    }
    for version in LISTED:
        header = {
            "engine": "sglang", "version": version, "checked": CHECKED,
            "source": f"PyPI package sglang {version}, sglang/srt/server_args.py and arg_groups (Apache-2.0), by syntax tree",
        }  # fmt: skip
        write(target / f"options/{version}.json", header, found[version])
    head = {"checked": CHECKED, "scanned": versions}
    write(
        target / "option_lifetimes.json", {**head, "what": "option names over the scanned releases"}, lifetimes(names)
    )
    classes = {version: architectures(source / version) for version in versions}
    what = "architecture -> first scanned release whose model files define it (EntryClass)"
    write(target / "architectures.json", {**head, "what": what}, spans(classes, "architecture"))
    demands = {version: methods(source / version) for version in versions}
    what = "quantization methods, and get_min_capability by release (75 is 7.5; null: computed or none)"
    write(target / "quantization.json", {**head, "what": what}, list(demand_rows(demands)))
    windows = [{"from": version, "architectures": hybrid_windows(source / version)} for version in versions]
    changed = [
        row
        for index, row in enumerate(windows)
        if not index or row["architectures"] != windows[index - 1]["architectures"]
    ]
    what = "architectures whose windowed layers get a pool of their own (configs/model_config.py is_hybrid_swa_model)"
    write(target / "windowed_architectures.json", {**head, "what": what}, changed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
