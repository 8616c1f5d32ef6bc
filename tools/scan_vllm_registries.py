"""Names in vLLM's registries of tool-call parsers, reasoning parsers and quantization methods, release by release.

    python tools/scan_vllm_registries.py CACHE_FOLDER     writes src/fitserve/engines/vllm/registries.json

Read from the syntax trees of the source archives: decorators and calls of `register_module`, tables of parsers to
register, and the literal of quantization methods. A name's life is its unbroken runs of scanned releases.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pypi_source import python_files, source_archive

PACKAGE = Path(__file__).parents[1] / "src/fitserve/engines/vllm"
LISTS = ("tool_call_parsers", "reasoning_parsers", "quantization_methods")
_MANAGERS = {"ToolParserManager": "tool_call_parsers", "ReasoningParserManager": "reasoning_parsers"}
_TABLES = {"_TOOL_PARSERS_TO_REGISTER": "tool_call_parsers", "_REASONING_PARSERS_TO_REGISTER": "reasoning_parsers"}


def _strings(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        for item in node.elts:
            yield from _strings(item)


def _of_call(node: ast.Call) -> Iterator[tuple[str, str]]:
    """`ToolParserManager.register_module("name")`, `…register_lazy_module(name=…)`."""
    function = node.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return
    listed = _MANAGERS.get(function.value.id)
    if listed is None or not function.attr.startswith("register"):
        return
    named = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
    for value in [*named, *node.args[:1]]:
        for name in _strings(value):
            yield listed, name


def _of_table(node: ast.Assign | ast.AnnAssign) -> Iterator[tuple[str, str]]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        name = target.id if isinstance(target, ast.Name) else ""
        if name in _TABLES and isinstance(node.value, ast.Dict):
            for key in node.value.keys:
                yield from ((_TABLES[name], text) for text in _strings(key))
        if name == "QuantizationMethods" and isinstance(node.value, ast.Subscript):
            yield from (("quantization_methods", text) for text in _strings(node.value.slice))
        if name in {"QUANTIZATION_METHODS", "DEPRECATED_QUANTIZATION_METHODS"} and isinstance(node.value, ast.List):
            yield from (("quantization_methods", text) for text in _strings(node.value))
        if name == "QUANTIZATION_METHODS" and isinstance(node.value, ast.Dict):
            for key in node.value.keys:
                yield from (("quantization_methods", text) for text in _strings(key))


def names_of(version: str, cache: Path) -> dict[str, set[str]]:
    """Names of every list at a release."""
    found: dict[str, set[str]] = {name: set() for name in LISTS}
    for path, text in python_files(source_archive("vllm", version, cache), "vllm/"):
        if not any(part in path for part in ("tool_parser", "reasoning", "quantization", "/parser")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                for listed, name in _of_call(node):
                    found[listed].add(name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for listed, name in _of_table(node):
                    found[listed].add(name)
    return found


def runs(versions: list[str], present: list[bool]) -> list[list[str]]:
    """Unbroken runs of releases as [first, last]."""
    found: list[list[str]] = []
    for index, version in enumerate(versions):
        if present[index]:
            if index and present[index - 1]:
                found[-1][1] = version
            else:
                found.append([version, version])
    return found


def main() -> int:
    """Scans, compares with the option lists of the releases that were read in full, writes."""
    cache = Path(sys.argv[1])
    scanned = json.loads((PACKAGE / "option_lifetimes.json").read_text())["scanned"]
    tables: dict[str, dict[str, set[str]]] = {}
    for version in scanned[scanned.index("0.6.6.post1") :]:
        try:
            tables[version] = names_of(version, cache)
        except (LookupError, SyntaxError) as error:
            print(f"{version}: {error}", file=sys.stderr)
    versions = list(tables)
    differing = 0
    for path in sorted((PACKAGE / "options").glob("*.json")):
        listed = json.loads(path.read_text())
        for name in LISTS:
            if path.stem in tables and set(listed.get(name) or ()) != tables[path.stem][name]:
                differing += 1
                here, there = tables[path.stem][name], set(listed.get(name) or ())
                print(f"{path.stem} {name}: only scanned {sorted(here - there)}, only listed {sorted(there - here)}")
    rows = []
    for name in LISTS:
        for value in sorted({value for version in versions for value in tables[version][name]}):
            rows.append(
                {
                    "list": name,
                    "value": value,
                    "intervals": runs(versions, [value in tables[v][name] for v in versions]),
                }
            )
    head = {"checked": "2026-11-20", "what": "names in vLLM's registries", "scanned": versions,
            "source": "PyPI package vllm, source archives (Apache-2.0), syntax trees"}  # fmt: skip
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (PACKAGE / "registries.json").write_text(
        json.dumps(head)[:-1] + ',\n"rows":[\n' + lines + "\n]}\n", encoding="utf-8"
    )
    print(f"{len(versions)} releases, {len(rows)} names, {differing} lists differ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
