"""The architecture as tests: layers, complete engine folders, sourced facts, texts for every code, frozen values."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import fitserve
from fitserve.engines.registry import engines
from fitserve.foundation.facts import load_toml
from fitserve.render.texts import LANGUAGES, texts

ROOT = Path(fitserve.__file__).parent
REPOSITORY = ROOT.parent.parent
SOURCES = sorted(ROOT.rglob("*.py"))
MOST_LINES = {"file": 400, "function": 50}
ENGINE_FILES = {
    "__init__.py", "facts.toml", "status.toml", "constraints.py", "memory.py", "command.py", "failures.toml",
    "messages/en.toml", "messages/ko.toml",
}  # fmt: skip
SOURCE_KINDS = {"vendor_spec", "source_code", "documentation", "measurement", "estimate"}
REASON_MAKERS = {"not_supported", "does_not_fit", "unknown", "warning", "note", "unanswered"}


def test_imports_follow_the_layers() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES["file"]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MOST_LINES["function"], node.name


@pytest.mark.parametrize("engine", list(engines()), ids=lambda e: e.id)
def test_engine_folder_is_complete(engine: Any) -> None:
    folder = ROOT / "engines" / engine.package.rpartition(".")[2]
    assert not {name for name in ENGINE_FILES if not (folder / name).is_file()}
    assert list((folder / "options").glob("*.json"))
    assert engine.versions and engine.native_os


def _rows_with_source(table: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(table, dict):
        if {"kind", "ref"} <= set(table):
            yield table
        for value in table.values():
            yield from _rows_with_source(value)
    elif isinstance(table, list):
        for value in table:
            yield from _rows_with_source(value)


@pytest.mark.parametrize("engine", list(engines()), ids=lambda e: e.id)
def test_engine_facts_are_sourced(engine: Any) -> None:
    for row in engine.facts["features"]:
        assert row["source"]["kind"] in SOURCE_KINDS and row["source"]["ref"] and row["source"]["checked"], row[
            "feature"
        ]
    assert len({row["feature"] for row in engine.facts["features"]}) == len(engine.facts["features"])


def _signatures() -> list[tuple[str, Mapping[str, Any]]]:
    return [(made.id, row) for made in engines() for row in load_toml(made.package, "failures.toml")["failures"]]


@pytest.mark.parametrize(("engine_id", "row"), _signatures(), ids=lambda value: str(value)[:40])
def test_every_failure_signature_matches_its_own_sample_and_no_other(engine_id: str, row: Mapping[str, Any]) -> None:
    assert re.search(row["pattern"], row["sample"], re.MULTILINE), row["category"]
    assert row["source"]["kind"] in SOURCE_KINDS and row["source"]["ref"]
    clean = "INFO: Application startup complete."
    assert not re.search(row["pattern"], clean, re.MULTILINE)


@pytest.mark.parametrize("engine", list(engines()), ids=lambda e: e.id)
def test_the_status_of_an_engine_is_stated(engine: Any) -> None:
    assert {"memory", "options", "speed", "proof"} <= set(engine.status)
    for part in engine.status.values():
        assert part["state"] in {"done", "partial", "todo"} and part["en"] and re.search("[가-힣]", part["ko"])


FACT_TABLES = [
    ("fitserve.search", "quality_classes.toml"),
    ("fitserve.footprint", "gguf_publishers.toml"),
    ("fitserve.models", "gguf_files.toml"),
    ("fitserve.emit.clients", "clients.toml"),
    ("fitserve.mcp", "clients.toml"),
    ("fitserve.predict.data", "purposes.toml"),
    ("fitserve.predict", "streams.toml"),
    ("fitserve.predict", "speculation.toml"),
    ("fitserve.predict", "families.toml"),
    ("fitserve.training", "facts.toml"),
    ("fitserve.training", "quantizers.toml"),
    ("fitserve.hardware.catalog", "cpus.toml"),
    ("fitserve.hardware.catalog", "normal_rates.toml"),
    ("fitserve.hardware.catalog", "intel_pci_ids.toml"),
    ("fitserve.guides", "abilities.toml"),
    ("fitserve.guides", "settings.toml"),
    ("fitserve.guides", "checklist.toml"),
    ("fitserve.launch.oracle", "gguf_headers.toml"),
    ("fitserve.bench", "conversations.toml"),
    ("fitserve.bench", "eval_tasks.toml"),
]


@pytest.mark.parametrize(("package", "name"), FACT_TABLES)
def test_other_tables_are_sourced(package: str, name: str) -> None:
    rows = list(_rows_with_source(load_toml(package, name)))
    assert rows and all(row["kind"] in SOURCE_KINDS for row in rows)


ANY = "*"


def _calls() -> Iterator[tuple[str, str, set[str], Path]]:
    """(table, code, parameter names, file) of every reason and input problem made in the sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            owner = getattr(getattr(node.func, "value", None), "id", "")
            first = node.args[0] if node.args else None
            codes = [n.value for n in ast.walk(first) if isinstance(n, ast.Constant)] if first is not None else []
            if isinstance(first, (ast.Constant, ast.IfExp)):
                parameters = {keyword.arg for keyword in node.keywords if keyword.arg} - {"source"}
                if any(keyword.arg is None for keyword in node.keywords):
                    parameters |= {ANY}  # `**common`: which names it brings is seen when the texts are filled
                for code in codes:
                    if name in REASON_MAKERS and isinstance(code, str):
                        yield "reason", code, parameters, path
                    elif name == "of" and owner == "InputError" and isinstance(code, str):
                        yield "input", code, parameters, path


CALLS = list(_calls())
PLACEHOLDER = re.compile(r"\{([\w-]+)(?::[^{}]*(?:\{\}[^{}]*)?)?\}")


def test_the_scan_sees_the_sources() -> None:
    codes = {code for _, code, _, _ in CALLS}
    assert {"weights_exceed_memory", "unknown_model", "capability_too_low", "format_removed", "gguf_broken"} <= codes


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_text_whose_placeholders_are_filled(language: str) -> None:
    words = texts(language)
    for table, code, parameters, path in CALLS:
        if code not in words.codes(table):
            pytest.fail(f"{path.name}: {table} {code} has no text in {language}")
        names = {match[1] for match in PLACEHOLDER.finditer(words.raw(table, code))}
        assert ANY in parameters or names <= parameters, f"{path.name}: {code} in {language} uses {names - parameters}"


def _facts() -> Iterator[tuple[str, str]]:
    """(file, English name with its parameters filled) of every fact that may be missing."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "FactMissing":
                first = node.args[0]
                parts = first.values if isinstance(first, ast.JoinedStr) else [first]
                yield path.name, "".join(str(p.value) if isinstance(p, ast.Constant) else "x1" for p in parts)


def test_every_fact_that_may_be_missing_has_a_korean_name() -> None:
    korean, names = texts("ko"), list(_facts())
    assert len(names) > 30
    assert not [(name, fact) for name, fact in names if not re.search("[가-힣]", korean.fact(fact))]
    assert all(texts("en").fact(fact) == fact for _, fact in names)


def test_both_languages_have_the_same_codes() -> None:
    english, korean = texts("en"), texts("ko")
    assert english.tables() == korean.tables()
    for table in english.tables():
        assert english.codes(table) == korean.codes(table), table


def test_korean_texts_are_korean() -> None:
    korean = texts("ko")
    for table in ("reason", "input", "label", "help", "verdict", "quality", "memory", "fact"):
        for code in korean.codes(table):
            text = korean.raw(table, code)
            assert re.search("[가-힣]", text) or text in {"#", "GPU", "RAM", "compute capability"}, (table, code)


def _dataclasses() -> Iterator[type]:
    for module in pkgutil.walk_packages(fitserve.__path__, "fitserve."):
        if module.name.endswith("__main__"):
            continue
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if dataclasses.is_dataclass(value) and value.__module__ == module.name:
                yield value


def test_values_are_frozen_and_slotted() -> None:
    loose = [
        value.__name__
        for value in _dataclasses()
        if not (vars(value)["__dataclass_params__"].frozen and hasattr(value, "__slots__"))
    ]
    assert loose == ["Evaluator"], "only the memo of judged deployments changes"


UNITS = re.compile(r"(size|memory|bandwidth|duration|latency|rate)$")


def test_numbers_carry_their_unit() -> None:
    unnamed = [
        f"{value.__name__}.{field.name}"
        for value in _dataclasses()
        for field in dataclasses.fields(value)
        if field.type in {int, float, "int", "float"} and UNITS.search(field.name)
    ]
    assert unnamed == ["LanguageModel.hidden_size", "LanguageModel.vocab_size"]
