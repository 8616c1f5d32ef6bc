"""Predicted against measured: the ratchet over the packaged cases, the scoreboard's arithmetic, broken files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conftest import Ran
from contract import VALIDATE
from fitserve.evidence.cases import Case, cases_of, packaged_cases
from fitserve.evidence.score import Group, Row, rows_of, scoreboard
from fitserve.foundation.errors import InputError
from fitserve.foundation.intervals import Interval

RATCHET = json.loads((Path(__file__).parent / "ratchet.json").read_text())
SLACK = 1e-6


@pytest.fixture(scope="module")
def groups() -> dict[str, Group]:
    rows = [row for case in packaged_cases() for row in rows_of(case)]
    return {f"{group.kind} {group.metric}": group for group in scoreboard(rows, merged=True) if not group.doubted}


@pytest.mark.parametrize("name", RATCHET)
def test_an_error_may_shrink_and_not_grow(name: str, groups: dict[str, Group]) -> None:
    """tests/ratchet.json is written by tools/write_evidence_doc.py; a better figure is taken over by running it."""
    kept, group = RATCHET[name], groups[name]
    assert group.answered >= kept["answered"]
    for key in ("median_abs_pct", "p90_abs_pct"):
        if kept[key] is not None:
            value = getattr(group, key)
            assert value is not None and value <= kept[key] + SLACK, key
    if kept["right_pct"] is not None:
        assert group.right_pct is not None and group.right_pct >= kept["right_pct"] - SLACK


# what the project promises: kind and metric, then median, p90 in percent, and the share of right figures
PROMISES = [
    ("kv_cache bytes", 0.0, 0.0, 100),
    ("vllm_kv_pool bytes_per_block", 0.0, 0.0, 95),
    ("vllm_kv_pool kv_groups", 0.0, 0.0, 95),
    ("vllm_kv_pool num_blocks", 0.0, 0.0, 95),
    ("vllm_kv_pool outcome", None, None, 95),
    ("gguf_memory model_mib", 0.5, None, None),
    ("gguf_memory kv_mib", 0.2, None, None),
    ("gguf_memory rs_mib", 0.1, 0.1, 100),
    ("gguf_memory compute_mib", 5, None, None),
    ("gguf_memory outcome", None, None, 95),
    ("vllm_memory weights_gib", 1, 4, None),
    ("vllm_memory kv_cache_gib", 3, 10, None),
    ("vllm_memory kv_tokens", 3, 10, None),
    ("gguf_size bytes", 0.1, 1, None),
]


@pytest.mark.parametrize(("name", "median", "p90", "right"), PROMISES)
def test_promises(
    name: str, median: float | None, p90: float | None, right: float | None, groups: dict[str, Group]
) -> None:
    group = groups[name]
    assert group.answered >= 0.8 * group.cases
    assert median is None or (group.median_abs_pct or 0) <= median
    assert p90 is None or (group.p90_abs_pct or 0) <= p90
    assert right is None or (group.right_pct or 0) >= right


def test_most_cases_lie_inside_their_interval(groups: dict[str, Group]) -> None:
    for name, group in groups.items():
        if name.startswith("vllm_memory") and group.inside_interval_pct is not None:
            assert 80 <= group.inside_interval_pct <= 100, name


def _row(measured: float, predicted: float, spread: float = 0.0, **case: object) -> Row:
    given = Case(id="x", kind="k", given={}, measured={"m": measured, **case})
    from fitserve.evidence.score import _compare

    return _compare(given, "m", Interval(predicted - spread, predicted, predicted + spread), measured)


def test_errors_count_from_the_rounding_of_the_source_on() -> None:
    assert _row(100, 110).error_pct == pytest.approx(10)
    assert _row(100, 90).error_pct == pytest.approx(-10)
    assert _row(100, 104, plus_minus_bytes=5).error_pct == 0
    assert _row(100, 108, plus_minus_bytes=5).error_pct == pytest.approx(3)
    assert _row(1.25, 1.254).error_pct == 0
    assert _row(1.25, 1.26).error_pct == pytest.approx(0.4)
    assert _row(0, 5).error_pct is None
    assert _row(100, 110, spread=10).is_inside and not _row(100, 111, spread=10).is_inside


def test_the_statistics_of_a_group() -> None:
    rows = tuple(_row(100, 100 + off) for off in (1, -2, 3, -4, 5, 6, 7, 8, 9, 10))
    group = Group(kind="k", metric="m", doubted=False, rows=rows)
    assert (group.median_abs_pct, group.p90_abs_pct, group.right_pct) == (pytest.approx(5.5), pytest.approx(9), 0)
    assert group.bias_pct == pytest.approx(5.5)
    empty = Group(kind="k", metric="m", doubted=False, rows=())
    assert (empty.median_abs_pct, empty.p90_abs_pct, empty.bias_pct, empty.right_pct) == (None, None, None, None)


def _file(tmp_path: Path, *cases: dict[str, object]) -> str:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"schema": "fitserve-evidence/1", "cases": list(cases)}))
    return str(path)


def test_a_case_without_measured_values_is_predicted_for_every_metric(tmp_path: Path) -> None:
    given = {"engine": "vllm", "engine_version": "0.19.0", "model": "Qwen/Qwen3-8B", "gpu": "h100-sxm-80gb", "tp": 1}
    case = {"id": "a", "kind": "vllm_memory", "given": given, "measured": {}}
    rows = rows_of(cases_of([_file(tmp_path, case)])[0])
    assert {"outcome", "weights_gib", "kv_cache_gib", "kv_tokens", "activations_gib"} <= {row.metric for row in rows}
    assert all(row.predicted is not None and row.measured is None for row in rows)


UNANSWERED = [
    ({"kind": "no_such_kind", "given": {}}, "kind_not_predicted"),
    ({"kind": "vllm_memory", "given": {"gpu": "h100-sxm-80gb"}}, "model_not_given"),
    ({"kind": "vllm_memory", "given": {"model": "no-such-model", "gpu": "h100-sxm-80gb"}}, "model_unknown"),
    ({"kind": "vllm_memory", "given": {"model": "Qwen/Qwen3-8B", "gpu": "no-such-gpu"}}, "gpu_unknown"),
    ({"kind": "gguf_memory", "given": {"engine": "magic", "model": "Qwen/Qwen3-8B"}}, "engine_not_predicted"),
    ({"kind": "gguf_size", "given": {"model": "Qwen/Qwen3-8B"}}, "format_not_given"),
    ({"kind": "gguf_size", "given": {"model": "Qwen/Qwen3-8B", "weight_format": "gguf:APEX-1"}}, "fact_missing"),
]


@pytest.mark.parametrize(("case", "code"), UNANSWERED)
def test_what_cannot_be_predicted_counts_as_unanswered_with_its_reason(
    case: dict[str, Any], code: str, tmp_path: Path
) -> None:
    full = {"id": "a", "measured": {"bytes": 5, "outcome": "ok"}, **case}
    rows = rows_of(cases_of([_file(tmp_path, full)])[0])
    assert rows and all(row.unanswered is not None and row.unanswered.code == code for row in rows)
    assert scoreboard(rows)[0].answered == 0 and scoreboard(rows)[0].cases == 1


BROKEN = ["", "[]", "{}", '{"schema": "other", "cases": []}', '{"schema": "fitserve-evidence/1", "cases": [{"id": 5}]}']


@pytest.mark.parametrize("text", BROKEN)
def test_broken_case_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        cases_of([str(path)])
    assert caught.value.problems[0].code == "evidence_broken"


def test_validate_keeps_the_contract(cli: Callable[..., Ran], tmp_path: Path) -> None:
    given = {
        "model": "Qwen/Qwen3-0.6B",
        "engine": "llama.cpp",
        "context_tokens": 40960,
        "kv_format": "f16",
        "sequences": 1,
    }
    good = {"id": "a", "kind": "kv_cache", "given": given, "measured": {"bytes": 4697620480, "plus_minus_bytes": 0}}
    bad = {"id": "b", "kind": "kv_cache", "given": {}, "measured": {"bytes": 1}, "doubt": "made up"}
    ran = cli("validate", _file(tmp_path, good, bad), "--json")
    assert ran.code == 0
    jsonschema.validate(ran.json(), VALIDATE)
    headline = ran.json()["groups"][0]
    assert (headline["cases"], headline["answered"], headline["right_pct"]) == (1, 1, 100.0)


def test_nothing_that_may_not_be_passed_on_travels_with_the_package() -> None:
    folder = Path(__import__("fitserve").__file__).parent / "evidence" / "cases"
    for path in folder.glob("*.json"):
        for case in json.loads(path.read_text())["cases"]:
            assert case["source"]["redistributable"] is True
            assert "log_lines" not in case["measured"]
