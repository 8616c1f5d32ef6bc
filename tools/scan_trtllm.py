"""Option lists of `trtllm-serve serve`: from the click decorators of serve.py, or from the reference that the project keeps.

    python tools/scan_trtllm.py SOURCES src/fitserve/engines/tensorrt_llm

SOURCES/VERSION holds docs/source/models/supported-models.md as supported-models.md, and
tensorrt_llm/commands/serve.py as serve.py or, for releases that have it,
tests/unittest/api_stability/references/trtllm_serve_cli.yaml.
"""

import ast
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from packaging.version import Version

from scan_options import Sources, click_rows, lifetimes, merged
from scan_sglang import CHECKED, write

_TYPES = {"int": "integer", "float": "number", "bool": "boolean"}
# Which state of the main branch stands for a release: the wheels are not on PyPI, and branches are not stored.
STATES = {
    "1.1.0": "tensorrt_llm/commands/serve.py at 4c05a748 (main, autumn 2025)",
    "1.2.1": "tensorrt_llm/commands/serve.py at 00209afe (main, early 2026, before 1.3.0rc7)",
    "1.4.0rc1": "tests/unittest/api_stability/references/trtllm_serve_cli.yaml at 029e223d",
}


def reference_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of the reference file."""
    options = yaml.safe_load(path.read_text(encoding="utf-8"))["commands"]["serve"]["options"]
    rows = []
    for name, spec in options.items():
        flags = list(spec["flags"])
        first = f"--{name}" if f"--{name}" in flags else flags[0]
        negations = [flag for flag in flags if flag.startswith("--no-")]
        row: dict[str, Any] = {"name": first}
        aliases = [flag for flag in flags if flag != first and flag not in negations]
        row |= {"aliases": aliases} if aliases else {}
        row |= {"negations": negations} if negations else {}
        kind = "flag" if spec["is_flag"] else "value"
        row |= {
            "kind": kind,
            "arity": "0" if spec["is_flag"] else "1",
            "value_type": _TYPES.get(spec["type"], "string"),
        }
        if str(spec["type"]).startswith("Choice("):
            row["choices"] = sorted(ast.literal_eval(str(spec["type"])[len("Choice(") : -1]))
        if spec["default"] not in (None, False) and not spec["is_flag"]:
            row["default"] = spec["default"]
        rows.append(row)
    return merged(rows)


def options(folder: Path) -> list[dict[str, Any]]:
    """Rows of one release."""
    reference = folder / "trtllm_serve_cli.yaml"
    return (
        reference_rows(reference)
        if reference.is_file()
        else merged(click_rows(Sources.read([folder / "serve.py"]), "serve"))
    )


def architectures(folder: Path) -> dict[str, bool]:
    """Architectures in the first column of the tables of supported models; True for the AutoDeploy backend only."""
    text = (folder / "supported-models.md").read_text(encoding="utf-8")
    notes = {
        n
        for n, words in re.findall(r"^\[\^(\d+)\]: (.*)$", text, re.MULTILINE)
        if re.match(r"(?:Text-only s|S)upport\w* via the \[AutoDeploy", words)
    }
    found: dict[str, bool] = {}
    for name, marks in re.findall(r"^\| *`?(\w+?)`?(?: \(\w+\))? *((?:\[\^\d+\])*) *\|", text, re.MULTILINE):
        if name[0].isupper() and re.search(r"For[A-Z]|_VL_|Model$", name):
            found.setdefault(name, bool(set(re.findall(r"\d+", marks)) & notes))
    return found


def architecture_rows(by_version: dict[str, dict[str, bool]]) -> list[dict[str, Any]]:
    """First state with an architecture; `autodeploy`: from which state on it runs on that backend only."""
    rows = []
    for row in lifetimes(by_version):
        name, version = row["name"], row["last_seen"]
        only = next((v for v, names in by_version.items() if names.get(name)), None)
        rows.append(
            {
                "architecture": name,
                "in": row["first_seen"],
                "not_in": row["not_in"],
                "last": version,
                "autodeploy": only,
            }
        )
    return rows


def main(source: Path, target: Path) -> None:
    """Write the lists of every release below `source`, and the lifetimes of their options."""
    versions = sorted((path.name for path in source.iterdir()), key=Version)
    found = {version: options(source / version) for version in versions}
    for version, rows in found.items():
        header = {
            "engine": "tensorrt-llm",
            "version": version,
            "checked": CHECKED,
            "source": f"NVIDIA/TensorRT-LLM {STATES[version]} (Apache-2.0)",
        }
        write(target / f"options/{version}.json", header, rows)
    names = {
        v: [n for r in rows for n in (r["name"], *r.get("aliases", ()), *r.get("negations", ()))]
        for v, rows in found.items()
    }
    head = {
        "checked": CHECKED,
        "scanned": versions,
        "what": "architectures in the documented tables of supported models",
    }
    write(target / "architectures.json", head, architecture_rows({v: architectures(source / v) for v in versions}))
    head = {"checked": CHECKED, "scanned": versions, "what": "option names of trtllm-serve serve over the states read"}
    write(target / "option_lifetimes.json", head, lifetimes(names))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
