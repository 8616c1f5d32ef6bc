"""Bad input: one clear message, exit code 2, within a second, without memory growth, never a traceback."""

import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ran

Cli = Callable[..., Ran]

CASES = {
    "unknown model": (["plan", "no-such-model-9000b"], "no-such-model"),
    "unknown repository": (["plan", "nobody/no-such-model"], "nobody/no-such-model"),
    "unknown gpu": (["plan", "qwen3-8b", "--gpu", "rtx-9999"], "rtx-9999"),
    "zero gpus": (["plan", "qwen3-8b", "--gpu", "rtx-3090:0"], "rtx-3090:0"),
    "negative gpus": (["plan", "qwen3-8b", "--gpu", "rtx-3090:-2"], "rtx-3090:-2"),
    "a billion gpus": (["plan", "qwen3-8b", "--gpu", "rtx-3090:1000000000"], "1000000000"),
    "none with others": (["plan", "qwen3-8b", "--gpu", "none", "--gpu", "rtx-3090"], "none"),
    "negative concurrency": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--concurrency", "-3"], "--concurrency"),
    "zero concurrency": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--concurrency", "0"], "--concurrency"),
    "fractional tp": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--tp", "1.5"], "--tp"),
    "context beyond the model": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--context", "999999"], "40,960"),
    "context zero": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--context", "0"], "--context"),
    "absurd context": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--context", "9" * 40], "--context"),
    "prompt beyond context": (
        ["plan", "qwen3-8b", "--gpu", "rtx-3090", "--context", "1k", "--prompt-tokens", "2000"],
        "--context",
    ),
    "ram": (["plan", "qwen3-8b", "--gpu", "none", "--ram", "lots"], "--ram"),
    "system": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--os", "beos"], "beos"),
    "use": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--use", "fun"], "fun"),
    "engine": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--engine", "magic"], "magic"),
    "engine version": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--engine", "vllm==banana"], "banana"),
    "version without engine": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--engine-version", "0.1"], "--engine"),
    "format": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--format", "q99"], "q99"),
    "offload": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--offload", "some"], "some"),
    "option text": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--set", "novalue"], "novalue"),
    "option value": (
        ["plan", "qwen3-8b", "--gpu", "rtx-3090", "--engine", "vllm", "--set", "gpu-memory-utilization=7"],
        "gpu-memory-utilization",
    ),
    "more ranks than gpus": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--tp", "4"], "4"),
    "unknown flag": (["plan", "qwen3-8b", "--frobnicate"], "--frobnicate"),
    "missing model": (["plan"], "MODEL"),
    "extra argument": (["plan", "qwen3-8b", "and", "more"], "and"),
    "unknown command": (["explode"], "explode"),
    "language": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--lang", "fr"], "fr"),
    "out": (["plan", "qwen3-8b", "--gpu", "rtx-3090", "--out", "x.exe"], "x.exe"),
    "evidence file": (["validate", "/no/such/file.json"], "/no/such/file.json"),
    "missing file": (["plan", "/no/such/model.gguf"], "/no/such/model.gguf"),
    "control characters": (["plan", "qwen3\n8b", "--gpu", "rtx-3090"], ""),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_one_clear_message(cli: Cli, name: str, language: str) -> None:
    argv, shown = CASES[name]
    language_flag = [] if "--lang" in argv else ["--lang", language]
    started = time.monotonic()
    ran = cli(*argv, *language_flag)
    assert ran.code == 2, ran.out + ran.err
    assert time.monotonic() - started < 2
    assert shown in ran.err and "Traceback" not in ran.err
    assert 1 <= len(ran.err.strip().splitlines()) <= 3
    assert ran.out == ""


def test_all_problems_at_once(cli: Cli) -> None:
    ran = cli("plan", "no-such-model", "--gpu", "rtx-9999", "--engine", "magic", "--format", "q99")
    assert ran.code == 2
    for word in ("no-such-model", "rtx-9999", "magic", "q99"):
        assert word in ran.err


def test_errors_as_json(cli: Cli) -> None:
    ran = cli("plan", "no-such-model", "--gpu", "rtx-3090", "--json")
    assert ran.code == 2 and ran.json()["error"]["kind"] == "input"


def test_an_architecture_without_a_layout_is_unknown(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BrandNewForCausalLM"], "hidden_size": 64}')
    ran = cli("plan", str(tmp_path), "--gpu", "rtx-3090", "--json")
    assert ran.code == 1
    assert ran.json()["rejected"][0]["verdict"] == "unknown"
    assert "BrandNewForCausalLM" in ran.json()["rejected"][0]["reasons"][0]["text"]


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20, 600 * 2**20))


HOSTILE = {
    "broken.gguf": b"GGUF" + struct.pack("<IQQ", 3, 2**62, 2**62) + b"\0" * 100,
    "texts.gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 8, 2**60) + b"\0" * 100,
    "config.json": b"[" * 5_000_000,
    "empty.gguf": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_within_a_second_and_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    if name == "texts.gguf":
        with path.open("r+b") as file:
            file.truncate(40 * 2**30)  # a hole: 40 GB of empty texts
    command = [sys.executable, "-m", "fitserve", "plan", str(path), "--gpu", "rtx-3090"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, preexec_fn=_limited)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert time.monotonic() - started < 5  # a second of work, and room for a noisy machine


def test_nothing_is_left_behind_when_writing_fails(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "plan.json"
    ran = cli("plan", "qwen3-8b", "--gpu", "rtx-3090", "--out", str(target))
    assert ran.code == 3 and not target.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m fitserve gpus | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("engine", "newer"),
    [("vllm==99.0", True), ("llama.cpp==b99999", True), ("vllm", False), ("llama.cpp==b5000", False)],
)
def test_a_version_beyond_the_known_ones_is_said(cli: Cli, engine: str, newer: bool) -> None:
    notes = cli("plan", "qwen3-8b", "--gpu", "rtx-4090", "--engine", engine, "--json").json()["notes"]
    assert ("version_newer" in {item["code"] for item in notes}) == newer
