"""docs/engines.md says what the engine folders say today."""

import sys
from pathlib import Path

import pytest

from fitserve.engines.registry import engines

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import write_engines_doc


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_engines_doc.main(["--check"]) == 0, "run python tools/write_engines_doc.py"
    assert "up to date" in capsys.readouterr().out


def test_a_page_that_differs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "engines.md"
    monkeypatch.setattr(write_engines_doc, "DOC", other)
    assert write_engines_doc.main(["--check"]) == 1
    other.write_text(write_engines_doc.page().replace("partial", "done", 1), encoding="utf-8")
    assert write_engines_doc.main(["--check"]) == 1


def _rows() -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in write_engines_doc.page().splitlines() if line.startswith("| [")]
    return {cells[0].partition("]")[0].strip("["): cells for cells in lines}


def test_each_engine_has_a_row_and_the_rows_follow_the_constraints() -> None:
    rows = _rows()
    assert set(rows) == {made.facts["identity"]["title"] for made in engines()}
    assert rows["llama.cpp"][4] == "GGUF"
    assert rows["llama.cpp"][5] == "NVIDIA, AMD, Intel, Apple, CPU"
    formats = rows["vLLM"][4].split(", ")
    assert {"BF16", "FP8", "AWQ", "NVFP4"} <= set(formats)
    assert not {"GGUF", "bnb 4", "EXL3"} & set(formats), "0.33.0 has left GGUF and bitsandbytes to plugins"
    assert rows["vLLM"][6] == "Linux, Docker Desktop on Windows"
