"""llama-server's own parser, as the embedded llama.cpp carries it, takes every command that plans show, and means the same."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran
from fitserve.foundation.facts import load_json

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).with_name("llama_cpp_parse.py")
_RELEASE = "v0.5.0"
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


def _asked(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(_SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


def _commands(cli: Callable[..., Ran]) -> list[list[str]]:
    found = []
    for request in _REQUESTS:
        ran = cli("plan", *request, "--engine", f"llama.cpp=={_RELEASE}", "--context", "8192", "--json")
        plans = ran.json()["plans"]
        assert plans, request
        found += [plan["command"]["argv"] for plan in plans]
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
    rows = load_json("fitserve.engines.llama_cpp", f"options/{_RELEASE}.json")["rows"]
    ours = {name for row in rows for name in [row["name"], *row.get("aliases", ()), *row.get("negations", ())]}
    assert len(listed) > len(rows)
    assert listed - ours == _ONLY_IN_THE_BUILD
    assert not ours - listed
