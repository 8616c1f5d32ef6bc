"""llama-server's own parser, as the embedded llama.cpp carries it, takes every command that plans show, and means the same."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran
from fitserve.engines.option_lists import SERVER
from fitserve.foundation.facts import load_json

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).with_name("llama_cpp_parse.py")
_RELEASE = "v0.5.0"
_SERVER = 12
_OLDER = Path(__file__).parents[2] / ".cache/xllamacpp"
_OLDER_BUILDS = [("b5772", "0.1.22", 9), ("b7551", "0.2.8", 10), ("b8929", "2026.4.8929", 12)]
"""Builds between those whose option lists were read: release of the wheel, number of the server among the programs."""
_ONLY_IN_THE_BUILD = {"--moe-cache-mib", "--spec-draft-sampling"}
"""Options of the embedded build, b11549, that the sources of v0.5.0 do not have."""
_REQUESTS = [
    ["Qwen/Qwen3-8B", "--gpu", "rtx-3060-12gb"],
    ["Qwen/Qwen3-32B", "--gpu", "rtx-3090:2"],
    ["Qwen/Qwen3-32B", "--gpu", "rtx-4090", "--format", "Q4_K_M", "--kv-format", "q8_0", "--concurrency", "4"],
    ["Qwen/Qwen3-30B-A3B", "--gpu", "rtx-3060-12gb", "--ram", "64", "--offload", "auto"],
    ["openai/gpt-oss-120b", "--gpu", "rtx-3090", "--ram", "128", "--offload", "auto"],
    ["meta-llama/Llama-3.3-70B-Instruct", "--gpu", "rtx-3090", "--ram", "64", "--offload", "45", "--format", "Q4_K_M"],
    ["google/gemma-3-27b-it", "--gpu", "m2-ultra-192gb"],
    ["google/gemma-3-4b-it", "--gpu", "none", "--ram", "16"],
    ["deepseek-ai/DeepSeek-V2-Lite", "--gpu", "rx-7900-xtx"],
    ["Qwen/Qwen3-8B", "--gpu", "rtx-4070", "--os", "windows", "--set", "flash-attn=off", "--set", "ubatch-size=256"],
    ["Qwen/Qwen3-8B", "--gpu", "rtx-3090:3", "--set", "host=0.0.0.0", "--set", "port=9000", "--set", "api-key=열쇠"],
    ["Qwen/Qwen3-8B", "--gpu", "rtx-3090", "--set", "kv-unified=on", "--set", "jinja=on", "--set", "metrics=on"],
]
_WRONG = [
    ["--no-such-option", "1"],
    ["--flash-attn", "maybe"],
    ["--cache-type-k", "q9_0"],
    ["--ctx-size", "many"],
    ["--prompt", "once"],  # of llama-cli, not of the server
    ["--max-model-len", "8192"],  # of another engine
    ["--parallel"],
]
_ALL_LAYERS = -2  # what the engine keeps for `--gpu-layers all`
_READ_BACK: dict[str, Callable[[dict[str, Any], str], bool]] = {
    "--model": lambda got, value: got["model"] == value,
    "--ctx-size": lambda got, value: got["n_ctx"] == int(value),
    "--parallel": lambda got, value: got["n_parallel"] == int(value),
    "--ubatch-size": lambda got, value: got["n_ubatch"] == int(value),
    "--gpu-layers": lambda got, value: got["n_gpu_layers"] == (_ALL_LAYERS if value == "all" else int(value)),
    "--flash-attn": lambda got, value: got["flash_attn_type"] == {"on": "enabled", "off": "disabled"}[value],
    "--cache-type-k": lambda got, value: got["cache_type_k"] == value,
    "--cache-type-v": lambda got, value: got["cache_type_v"] == value,
    "--host": lambda got, value: got["hostnames"] == [value],
    "--port": lambda got, value: got["port"] == int(value),
    "--api-key": lambda got, value: got["api_keys"] == [value],
    "--n-cpu-moe": lambda got, value: got["tensor_buft_overrides"].count("=CPU") == int(value),
    "--tensor-split": lambda got, value: _shares(got["tensor_split"]) == _shares(value.split(",")),
    "--kv-unified": lambda got, value: got["kv_unified"],
    "--jinja": lambda got, value: got["use_jinja"],
    "--metrics": lambda got, value: got["endpoint_metrics"],
}
"""How each option that plans emit is read back; one that is not here fails the test."""


def _shares(given: list[Any]) -> list[float]:
    shares = [float(share) for share in given]
    while shares and not shares[-1]:
        shares.pop()
    return shares


def _asked(arguments: list[str], server: int = _SERVER, wheel: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(_SCRIPT), str(server), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | ({} if wheel is None else {"PYTHONPATH": str(wheel)}),
    )


def _wheel(version: str) -> Path:
    """An older build, fetched once; skips where the package index cannot be reached."""
    folder = _OLDER / version
    if not folder.exists():
        fetched = _OLDER / f"{version}.part"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--upgrade"]
        ran = subprocess.run([*pip, "--target", str(fetched), f"xllamacpp=={version}"], capture_output=True, text=True)
        if re.search("NewConnectionError|NameResolution|ConnectTimeout|ProxyError", ran.stderr):
            pytest.skip("the package index cannot be reached")
        assert ran.returncode == 0, ran.stderr
        fetched.rename(folder)
    return folder


def _commands(cli: Callable[..., Ran], version: str = _RELEASE) -> list[list[str]]:
    found = []
    for request in _REQUESTS:
        ran = cli("plan", *request, "--engine", f"llama.cpp=={version}", "--context", "8192", "--json")
        plans = ran.json()["plans"]
        # older builds lack some models and options
        assert plans or version != _RELEASE, request
        found += [plan["command"]["argv"] for plan in plans]
    assert len(found) >= len(_REQUESTS)
    return found


def test_the_parser_takes_every_command_and_means_the_same(cli: Callable[..., Ran]) -> None:
    seen = set()
    for command in _commands(cli):
        assert command[0] == "llama-server"
        ran = _asked(command)
        assert ran.returncode == 0, (command, ran.stderr)
        got = json.loads(ran.stdout.partition("PARSED ")[2])
        for option, value in zip(command[1:], [*command[2:], "--"], strict=True):
            if option.startswith("--"):
                seen.add(option)
                assert _READ_BACK[option](got, value), (command, option, value, got)
    assert seen == set(_READ_BACK), "the requests bring out every option that is read back"


@pytest.mark.parametrize(("build", "wheel", "server"), _OLDER_BUILDS)
def test_older_builds_take_their_commands(build: str, wheel: str, server: int, cli: Callable[..., Ran]) -> None:
    folder = _wheel(wheel)
    assert "--slot-save-path" in _asked(["llama-server", "--help"], server, folder).stdout, "another program's parser"
    for command in _commands(cli, build):
        ran = _asked(command, server, folder)
        assert ran.stdout.startswith("TAKEN"), (command, ran.stderr)
    assert not _asked([*command, "--no-such-option"], server, folder).stdout


@pytest.mark.parametrize("wrong", _WRONG, ids=" ".join)
def test_the_parser_refuses_what_is_wrong(wrong: list[str]) -> None:
    usual = ["llama-server", "--model", "a.gguf", "--ctx-size", "8192"]
    assert _asked(usual).returncode == 0
    ran = _asked([*usual, *wrong])
    assert ran.returncode == 1, ran.stdout
    assert wrong[0] in ran.stderr


def test_the_option_data_is_what_the_server_lists() -> None:
    listed: set[str] = set()
    for line in _asked(["llama-server", "--help"]).stdout.splitlines():
        if line.startswith("-") and not line.startswith("-----"):
            spellings = re.match(r"(?:--?[\w.-]+,?\s*)+", line)
            assert spellings is not None, line
            listed |= set(re.findall(r"(?<![\w.-])--?[A-Za-z][\w.-]*", spellings[0]))
    listed_rows = load_json("fitserve.engines.llama_cpp", f"options/{_RELEASE}.json")["rows"]
    rows = [row for row in listed_rows if SERVER in row.get("programs", [SERVER])]
    ours = {name for row in rows for name in [row["name"], *row.get("aliases", ()), *row.get("negations", ())]}
    assert len(listed) > len(rows)
    assert listed - ours == _ONLY_IN_THE_BUILD
    assert not ours - listed
