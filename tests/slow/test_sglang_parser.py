"""SGLang's own parser takes every command that plans show, and the option list of the package equals it."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_LIBRARIES = ["msgspec==0.20.0", "numpy==2.3.5"]
_RELEASES = ["0.4.6.post5", "0.5.1.post3", "0.5.23"]
_REQUESTS = [
    ["Qwen/Qwen3-8B", "--gpu", "rtx-4090"],
    ["Qwen/Qwen3-32B", "--gpu", "h100:2", "--concurrency", "64"],
    ["Qwen/Qwen3-32B", "--gpu", "a100-80gb", "--format", "awq"],
    ["deepseek-ai/DeepSeek-V3", "--gpu", "h200:8"],
    ["meta-llama/Llama-3.1-8B-Instruct", "--gpu", "l40s", "--format", "fp8", "--kv-format", "fp8_e5m2"],
    ["meta-llama/Llama-3.3-70B-Instruct", "--gpu", "h100:4", "--set", "chunked-prefill-size=4096"],
]
_WRONG = [["--no-such-option", "1"], ["--tp-size", "two"], ["--quantization", "exl2"]]


@pytest.fixture(scope="session")
def python() -> Path:
    """An interpreter with the two libraries that the parser itself needs."""
    folder = _ROOT / ".venv-sglang-parser"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        _pip(folder / "bin/python", "install", *_LIBRARIES)
        (folder / ".ready").touch()
    return folder / "bin/python"


def _pip(program: Path, *arguments: str) -> None:
    ran = subprocess.run([str(program), "-m", "pip", *arguments, "-q"], capture_output=True, text=True, timeout=600)
    if ran.returncode and "name resolution" in ran.stderr:
        pytest.skip("the packages cannot be downloaded here")
    assert not ran.returncode, ran.stderr[-1000:]


def _source(python: Path, version: str) -> Path:
    """The package of a release, unpacked; kept for the next run."""
    folder = _ROOT / ".cache/sglang" / version
    if not (folder / "sglang").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _pip(python, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"sglang=={version}")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
    return folder


def _parsed(python: Path, version: str, lists: list[list[str]]) -> list[dict[str, Any] | None]:
    ran = subprocess.run(
        [str(python), str(_HERE / "sglang_parse.py"), str(_source(python, version))],
        input=json.dumps(lists), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "PARSED" in ran.stdout, ran.stderr[-2000:]
    answer: list[dict[str, Any] | None] = json.loads(ran.stdout.partition("PARSED ")[2])
    return answer


@pytest.mark.parametrize("version", _RELEASES)
def test_the_parser_takes_every_command_and_means_the_same(python: Path, version: str, cli: Callable[..., Ran]) -> None:
    commands = []
    for request in _REQUESTS:
        plans = cli("plan", *request, "--engine", f"sglang=={version}", "--context", "8192", "--json").json()["plans"]
        commands += [plan["command"]["argv"] for plan in plans]
    assert len(commands) >= len(_REQUESTS)
    lists = [argv[argv.index("--model-path") :] if "--model-path" in argv else argv[2:] for argv in commands]
    *understood, one, two, three = _parsed(python, version, [*lists, *(["--model-path", "a/b", *w] for w in _WRONG)])
    assert [one, two, three] == [None, None, None], "the parser refuses nothing"
    for words, values in zip(lists, understood, strict=True):
        assert values is not None, words
        for option, value in zip(words, [*words[1:], "--"], strict=True):
            said = values.get(option[2:].replace("-", "_")) if option.startswith("--") else None
            if said is not None and not value.startswith("--"):
                assert str(said) == value, (option, said, value)


@pytest.mark.parametrize("version", _RELEASES)
def test_the_option_list_is_that_of_the_parser(python: Path, version: str) -> None:
    listed = _ROOT / f"src/fitserve/engines/sglang/options/{version}.json"
    ran = subprocess.run(
        [str(python), str(_ROOT / "tools/check_sglang_options.py"), str(_source(python, version)), str(listed)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    names = [line for line in ran.stdout.splitlines() if line.startswith("only in one")]
    assert not names and ("agree" in ran.stdout or ran.returncode <= 1), ran.stdout + ran.stderr[-500:]
