"""Writes the list of TabbyAPI's config.yml keys from its own declaration, `common/config_models.py`, read as a syntax tree.

    python tools/tabbyapi_options.py ENGINE VERSION LABEL=FILE [LABEL=FILE ...]

ENGINE is the folder below engines/ that gets `options/VERSION.json`; LABEL says where a FILE comes from (repository and
commit). A later FILE adds the keys that the earlier ones lack. Names, types, choices, limits and defaults only: TabbyAPI
is AGPL, and none of its text is taken.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from import_facts import dump

ENGINES = Path(__file__).parents[1] / "src/fitserve/engines"
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "mapping"}
LIMITS = {"ge": "at_least", "gt": "above", "multiple_of": "multiple_of"}


def _inner(node: ast.expr) -> list[ast.expr]:
    """The parts of `X[a, b]`."""
    assert isinstance(node, ast.Subscript)
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def _type(node: ast.expr, names: Mapping[str, ast.expr]) -> dict[str, Any]:
    """value_type, choices, pattern and arity of an annotation."""
    if isinstance(node, ast.Name):
        return _type(names[node.id], names) if node.id in names else {"value_type": TYPES.get(node.id, "mapping")}
    if isinstance(node, ast.Call):  # constr(pattern=...)
        pattern = next(ast.literal_eval(word.value) for word in node.keywords if word.arg == "pattern")
        return {"value_type": "string", "pattern": pattern}
    assert isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    match node.value.id:
        case "Optional":
            return _type(_inner(node)[0], names)
        case "Literal":
            return {"value_type": "string", "choices": [ast.literal_eval(part) for part in _inner(node)]}
        case "List":
            return {**_type(_inner(node)[0], names), "arity": "*"}
        case "Union":
            merged: dict[str, Any] = {}
            for part in _inner(node):
                merged = {**merged, **_type(part, names)}
            return merged
    raise ValueError(ast.unparse(node))


def _default(call: ast.Call) -> Any:
    for word in call.keywords:
        if word.arg == "default":
            return ast.literal_eval(word.value)
        if word.arg == "default_factory":
            return [] if ast.unparse(word.value) == "list" else None
    return ast.literal_eval(call.args[0]) if call.args else None


def _rows(section: str, owner: ast.ClassDef, names: Mapping[str, ast.expr]) -> Iterator[dict[str, Any]]:
    for node in owner.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        assert isinstance(node.target, ast.Name)
        key = node.target.id
        if key.startswith("_"):
            continue
        row: dict[str, Any] = {"name": f"{section}.{key}", "aliases": [key]}
        row["also_accepted"] = [f"--{key.replace('_', '-')}"]
        row |= {"kind": "key", "arity": "1", **_type(node.annotation, names), "default": _default(node.value)}
        for word in node.value.keywords:
            if word.arg in LIMITS:
                row[LIMITS[word.arg]] = ast.literal_eval(word.value)
        yield row


def keys(source: str) -> list[dict[str, Any]]:
    """Rows of every key of every section, in the order of the declaration."""
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    names = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found: list[dict[str, Any]] = []
    for node in classes["TabbyConfigModel"].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            owner = _inner(node.annotation)[0]
            assert isinstance(owner, ast.Name)
            found += _rows(node.target.id, classes[owner.id], names)
    return found


def main() -> int:
    """Writes the file; returns the exit code."""
    engine, version, *sources = sys.argv[1:]
    rows: dict[str, dict[str, Any]] = {}
    labels = []
    for text in sources:
        label, _, path = text.partition("=")
        new = [row for row in keys(Path(path).read_text(encoding="utf-8")) if row["name"] not in rows]
        rows |= {row["name"]: row if not labels else {**row, "seen_in": label} for row in new}
        labels.append(label)
    content = {
        "engine": engine,
        "version": version,
        "checked": "2026-11-20",
        "source": "; ".join(f"{label} common/config_models.py" for label in labels),
        "complete": len(labels) == 1,
        "rows": list(rows.values()),
    }
    (ENGINES / engine / "options").mkdir(parents=True, exist_ok=True)
    (ENGINES / engine / f"options/{version}.json").write_text(dump(content), encoding="utf-8")
    print(f"{engine} {version}: {len(rows)} keys")
    return 0


if __name__ == "__main__":
    sys.exit(main())
