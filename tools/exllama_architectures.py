"""Writes which architectures each release of ExLlamaV2 and ExLlamaV3 loads, from the sources in their wheels.

    python tools/exllama_architectures.py exllamav3 WHEEL [WHEEL ...]

Wheels come from the package index (`pip download --no-deps exllamav3==VERSION`). Nothing is imported: ExLlamaV3 names an
architecture in `arch_string = "..."` of its config classes, ExLlamaV2 in comparisons `arch_string == "..."`.
"""

import ast
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from import_facts import dump

ENGINES = Path(__file__).parents[1] / "src/fitserve/engines"
DRAFT = re.compile(r"Draft|Assistant|DFlash")
"""Draft models: they are no models of their own to serve."""
FALLBACK = "LlamaForCausalLM"
"""What ExLlamaV2 takes an architecture for that it does not know, with a warning."""


def _trees(wheel: zipfile.ZipFile, folder: str) -> list[tuple[str, ast.Module]]:
    names = [name for name in wheel.namelist() if re.fullmatch(folder, name)]
    return [(Path(name).stem, ast.parse(wheel.read(name))) for name in sorted(names)]


def _constant(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A class of the sources: what it derives from, what its module imports, what it says of tensor parallelism."""

    bases: tuple[str, ...]
    imports: frozenset[str]
    says_tp: bool | None
    config: str | None
    architecture: str | None


def _says_tp(owner: ast.ClassDef) -> bool | None:
    """What a class says under `supports_tp`; one False is enough."""
    said = [
        bool(getattr(value, "value", True))
        for node in ast.walk(owner)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is not None and _constant(key) == "supports_tp"
    ]
    return all(said) if said else None


def _declared(tree: ast.Module) -> dict[str, Declared]:
    imports = frozenset(
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    )
    found = {}
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        own = {
            getattr(target, "id", ""): node.value
            for node in owner.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        }
        found[owner.name] = Declared(
            bases=tuple(getattr(base, "id", "") for base in owner.bases),
            imports=imports,
            says_tp=_says_tp(owner),
            config=getattr(own.get("config_class"), "id", None),
            architecture=_constant(own["arch_string"]) if "arch_string" in own else None,
        )
    return found


def _line(name: str, classes: Mapping[str, Declared]) -> list[Declared]:
    """A class and what it derives from, nearest first."""
    own = classes.get(name)
    return [] if own is None else [own, *(found for base in own.bases for found in _line(base, classes))]


def of_v3(wheel: zipfile.ZipFile) -> dict[str, dict[str, bool]]:
    """Architecture to whether it can be split by tensor, and whether sliding layers keep a window only."""
    split_by_tensor = any(name.endswith("model/model_tp.py") for name in wheel.namelist())
    classes: dict[str, Declared] = {}
    for _, tree in _trees(wheel, r"exllamav3/(architecture|models)/\w+\.py"):
        classes |= _declared(tree)
    found = {}
    for name, declared in classes.items():
        config = classes.get(declared.config or "")
        if config is None or config.architecture is None or DRAFT.search(config.architecture):
            continue
        line = _line(name, classes)
        says = next((item.says_tp for item in line if item.says_tp is not None), True)
        found[config.architecture] = {
            "tp": split_by_tensor and says,
            "window_only": any("SlidingAttention" in item.imports for item in line),
        }
    return found


def of_v2(wheel: zipfile.ZipFile) -> dict[str, dict[str, bool]]:
    """Architecture to whether it can be split by tensor."""
    found = {FALLBACK: {"tp": any(name.endswith("/tensor_p.py") for name in wheel.namelist())}}
    for _, tree in _trees(wheel, r"exllamav2/(architecture|config)\.py"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.If):
                continue
            compared = [n for n in ast.walk(node.test) if isinstance(n, ast.Compare)]
            names = [
                _constant(c.comparators[0])
                for c in compared
                if isinstance(c.ops[0], ast.Eq) and "arch" in ast.unparse(c.left)
            ]
            for text in names:
                if text and text.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")):
                    tp = any("supports_tp = True" in ast.unparse(line) for line in node.body)
                    found[text] = {"tp": tp}
    return found


def main() -> int:
    """Writes the file; returns the exit code."""
    engine, *paths = sys.argv[1:]
    read = of_v3 if engine == "exllamav3" else of_v2
    releases = sorted(((Path(path).name.split("-")[1], path) for path in paths), key=lambda item: Version(item[0]))
    table: dict[str, dict[str, Any]] = {}
    before = None
    for version, path in releases:
        with zipfile.ZipFile(path) as wheel:
            for name, facts in read(wheel).items():
                row = table.setdefault(name, {"architecture": name, "in": version, "not_in": before})
                for fact, holds in facts.items():
                    if holds:
                        row.setdefault(f"{fact}_from", version)
                row["last"] = version
        before = version
    order = [version for version, _ in releases]
    for row in table.values():
        after = order.index(row.pop("last")) + 1
        row["gone_in"] = order[after] if after < len(order) else None
    content = {
        "checked": "2026-11-20",
        "what": "architecture -> first scanned release that loads it, newest scanned without it, first with tensor "
        "parallelism (tp_from), first whose sliding layers keep only their window (window_only_from)",
        "refs": [f"PyPI {engine}, wheels of the scanned releases"],
        "scanned": order,
        "rows": [table[name] for name in sorted(table)],
    }
    (ENGINES / engine / "architectures.json").write_text(dump(content), encoding="utf-8")
    print(f"{engine}: {len(table)} architectures in {len(releases)} releases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
