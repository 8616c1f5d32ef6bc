"""vLLM's own parser of many releases takes every command that plans show for that release, and means the same.

The parser is built from the release's source without torch (tools/vllm_parser.py); its option names, methods and parser
names are also those of the data that the package carries.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran
from fitserve.engines.option_lists import header, option_names, scanned_versions

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import vllm_parser

pytestmark = pytest.mark.slow

_PACKAGE = "fitserve.engines.vllm"
_READ = ["0.10.2", "0.11.0", "0.14.1", "0.17.1", "0.20.2", "0.24.0", "0.28.0", "0.33.0"]
_BETWEEN = ["0.18.1", "0.29.0"]
"""Releases whose options are taken from the one before."""
_NGRAM = '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}'
_REQUESTS = [
    ["meta-llama/Llama-4-Scout-17B-16E-Instruct", "--gpu", "a100-sxm-80gb", "--format", "w4a16"],
    ["meta-llama/Llama-4-Scout-17B-16E-Instruct", "--gpu", "h100:8", "--ep", "8", "--tp", "8"],
    ["Qwen/Qwen3-32B", "--gpu", "rtx-3090:2", "--format", "awq"],
    ["Qwen/Qwen3-32B", "--gpu", "l40s:4", "--tp", "2", "--pp", "2", "--kv-format", "fp8"],
    ["Qwen/Qwen3-8B", "--gpu", "h100:4", "--dp", "4", "--format", "bf16", "--concurrency", "400"],
    ["Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--format", "fp8"],
    ["Qwen/Qwen3-8B", "--gpu", "a100-sxm-40gb", "--format", "bnb-4bit"],
    ["Qwen/Qwen3-8B", "--gpu", "rtx-3090", "--format", "gptq", "--kv-format", "fp8_e5m2"],
    ["Qwen/Qwen2.5-7B-Instruct", "--gpu", "t4:2"],
    ["deepseek-ai/DeepSeek-V3", "--gpu", "h200:8"],
    ["openai/gpt-oss-120b", "--gpu", "h100"],
    ["google/gemma-3-27b-it", "--gpu", "mi300x", "--os", "linux"],
    ["meta-llama/Llama-3.3-70B-Instruct", "--gpu", "l40s:4", "--set", "max-num-seqs=64", "--set", "enforce-eager=true"],
    ["Qwen/Qwen3-8B", "--gpu", "l40s", "--os", "windows", "--set", "gpu-memory-utilization=0.85"],
    [
        "Qwen/Qwen3-8B",
        "--gpu",
        "l40s",
        "--set",
        "no-enable-prefix-caching=true",
        "--set",
        "max-num-batched-tokens=4096",
    ],
    ["Qwen/Qwen3-8B", "--gpu", "l40s", "--set", "enforce-eager=false", "--set", "async-scheduling=off"],
    ["Qwen/Qwen3-8B", "--gpu", "l40s", "--set", f"speculative-config={_NGRAM}", "--set", "served-model-name=큐원"],
]
_FEWEST = 12  # requests that have a plan at every release: some formats and models are older or newer than one
_WRONG = {
    "an option that never was": ["--no-such-option", "1"],
    "an option that is gone": ["--num-scheduler-steps", "8"],
    "a cache type that is none": ["--kv-cache-dtype", "fp9"],
    "a method that is none": ["--quantization", "q4_k_m"],
    "text for a number": ["--tensor-parallel-size", "two"],
    "a share above one": ["--gpu-memory-utilization", "1.5"],
    "no value": ["--max-model-len"],
}


def _judged(version: str, lists: list[list[str]]) -> dict[str, Any]:
    try:
        return vllm_parser.judge(version, lists)
    except vllm_parser.Offline as error:
        pytest.skip(str(error))


def _commands(cli: Callable[..., Ran], version: str) -> list[list[str]]:
    """The argument lists after `vllm serve`, of every plan of every request."""
    found = []
    answered = 0
    for request in _REQUESTS:
        ran = cli("plan", *request, "--engine", f"vllm=={version}", "--context", "8192", "--json")
        plans = ran.json()["plans"]
        answered += bool(plans)
        for plan in plans:
            program, verb, *arguments = plan["command"]["argv"]
            assert (program, verb) == ("vllm", "serve")
            found.append(arguments)
    assert answered >= _FEWEST, answered
    return found


@pytest.mark.parametrize("version", [*_READ, *_BETWEEN])
def test_the_parser_takes_every_command_and_means_the_same(version: str, cli: Callable[..., Ran]) -> None:
    commands = _commands(cli, version)
    wrong = [[*commands[0], *extra] for extra in _WRONG.values()]
    answer = _judged(version, [*commands, *wrong])
    for command, result in zip(commands, answer["results"], strict=False):
        assert "refused" not in result, (command, result)
        _means(command, result["values"], answer["options"])
    for reason, result in zip(_WRONG, answer["results"][len(commands) :], strict=True):
        assert "refused" in result, f"vLLM {version} takes {reason}"


def _means(command: list[str], values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Each option of the command has its value, and nothing stands for another."""
    assert values["model_tag"] == command[0]
    for option, value in zip(command[1:], [*command[2:], "--"], strict=True):
        if option.startswith("--"):
            assert option in names, f"{option} is taken only because argparse completes beginnings of names"
            said = values[names[option]]
            assert _same(said, option, value), (option, value, said)


def _same(said: Any, option: str, value: str) -> bool:
    if value.startswith("--"):
        return said is not option.startswith("--no-")
    if isinstance(said, dict):
        return {key: said.get(key) for key in json.loads(value)} == json.loads(value)
    if isinstance(said, list):
        return [str(item) for item in said] == [value]
    return float(value) == said if isinstance(said, int | float) else said == value


@pytest.mark.parametrize("version", _READ)
def test_the_option_data_is_what_the_parser_has(version: str) -> None:
    answer = _judged(version, [])
    ours, theirs = option_names(_PACKAGE, version), set(answer["options"]) - {"-h", "--help"}
    assert ours == theirs, {"only ours": ours - theirs, "only the parser's": theirs - ours}
    above = header(_PACKAGE, version)
    for registry in ("quantization_methods", "tool_call_parsers", "reasoning_parsers"):
        assert set(answer[registry]) == set(above[registry]), registry


def test_the_releases_are_those_with_and_without_a_list_of_their_own() -> None:
    assert set(_READ) <= set(scanned_versions(_PACKAGE))
    assert not set(_BETWEEN) & set(scanned_versions(_PACKAGE))
