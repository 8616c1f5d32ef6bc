"""All engines: a plan on suitable hardware emits a command that our own check finds nothing wrong with, in every shell."""

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Ran
from fitserve.engines.registry import ENTRIES

Cli = Callable[..., Ran]

SUITABLE = {
    "vllm": ("Qwen/Qwen3-32B", "a100-80gb"),
    "sglang": ("Qwen/Qwen3-32B", "h100:2"),
    "tensorrt-llm": ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "b200"),
    "mlx": ("Qwen/Qwen3-8B", "m2-ultra-192gb"),
    "llama.cpp": ("meta-llama/Llama-3.3-70B-Instruct", "v100-32gb:2"),
    "ollama": ("Qwen/Qwen3-8B", "rtx-3060"),
    "exllamav3": ("meta-llama/Llama-3.3-70B-Instruct", "rtx-3090:2"),
    "exllamav2": ("meta-llama/Llama-3.1-8B-Instruct", "rtx-4090"),
    "transformers": ("Qwen/Qwen3-8B", "rtx-4090"),
    "text-generation-webui": ("Qwen/Qwen3-8B", "rtx-4090"),
    "lmstudio": ("Qwen/Qwen3-8B", "rtx-4090"),
    "tgi": ("meta-llama/Llama-3.1-8B-Instruct", "a100-80gb"),
}
_FORMS = ("bash", "powershell", "powershell7", "cmd", "docker", "compose")


def test_every_engine_is_listed() -> None:
    assert set(SUITABLE) == {entry.id for entry in ENTRIES}


def _plans(cli: Cli, engine: str, *more: str) -> list[dict[str, Any]]:
    model, gpu = SUITABLE[engine]
    ran = cli("plan", model, "--gpu", gpu, "--engine", engine, "--context", "4096", *more, "--json")
    plans: list[dict[str, Any]] = ran.json()["plans"]
    assert plans, f"{engine} has no plan for {model} on {gpu}"
    return plans


@pytest.mark.parametrize("engine", SUITABLE)
@pytest.mark.parametrize("os_name", ["linux", "windows"])
def test_emitted_commands_are_found_clean(cli: Cli, engine: str, os_name: str) -> None:
    if engine == "mlx" and os_name == "windows":
        return  # runs on Apple machines only
    model, gpu = SUITABLE[engine]
    checked = 0
    for item in _plans(cli, engine, "--os", os_name)[:3]:
        for form in _FORMS:
            text = item["command"]["shells"].get(form)
            if text:
                ran = cli("check", text, "--gpu", gpu, "--model", model, "--json")
                blockers = [f for f in ran.json()["findings"] if f["severity"] == "blocker"]
                assert not blockers, (form, text, blockers)
                checked += 1
    assert checked >= 2


@pytest.mark.parametrize("engine", SUITABLE)
def test_files_of_a_command_are_found_clean(cli: Cli, engine: str) -> None:
    """Modelfiles and configuration files are checked by their own keys."""
    for item in _plans(cli, engine)[:2]:
        for file in item["command"]["files"]:
            if file["path"].endswith((".py",)):
                compile(file["text"], file["path"], "exec")
            elif file["path"] == "Modelfile" or file["path"].endswith("config.yml"):
                ran = cli("check", file["text"], "--json")
                assert ran.json()["statements"], file
                assert not [f for f in ran.json()["findings"] if f["severity"] == "blocker"], (file, ran.out)


@pytest.mark.parametrize("engine", SUITABLE)
def test_a_command_names_its_server(cli: Cli, engine: str) -> None:
    """The smoke test asks the port that the command listens on."""
    command = _plans(cli, engine)[0]["command"]
    if command["smoke_test"] is not None:
        assert f":{command['port']}/" in command["smoke_test"]["shells"]["bash"]
