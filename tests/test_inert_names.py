"""A model named like an attack stays one word: every engine's script runs in the real bash with programs that only record."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import Ran
from fitserve.check.script import read_script
from fitserve.models.catalog.lookup import rows

Cli = Callable[..., Ran]

NAMES = [
    '"; touch pwned #',
    "$(touch pwned) `touch pwned`",
    "it's %PATH% && touch pwned",
    "한글 모델 \\ back",
    "--host=evil",
]
ENGINES = {
    "vllm": "a100-80gb", "sglang": "h100", "tensorrt-llm": "h100", "transformers": "rtx-4090", "tgi": "a100-80gb",
    "mlx": "m2-ultra-192gb", "exllamav3": "rtx-4090",
}  # fmt: skip
"""Engines that load a folder of the Hugging Face layout; those of GGUF files are tested with files."""
GGUF_ENGINES = {
    "llama.cpp": "rtx-4090",
    "ollama": "rtx-4090",
    "text-generation-webui": "rtx-4090",
    "lmstudio": "rtx-4090",
}
PROGRAMS = [
    "vllm", "sglang", "trtllm-serve", "transformers", "text-generation-launcher", "mlx_lm.server", "python", "python3",
    "llama-server", "ollama", "lms", "curl", "docker",
]  # fmt: skip
_RECORDER = '#!/bin/sh\nfor word in "$@"; do printf \'%s\\n\' "$word"; done >> "$RECORD"\n'


def _recorded(script: str, folder: Path) -> str:
    """What the programs of a bash text were given; nothing else may happen."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (programs / name).write_text(_RECORDER)
        (programs / name).chmod(0o755)
    record = folder / "record"
    record.write_text("")
    env = {"PATH": f"{programs}:/usr/bin:/bin", "RECORD": str(record), "HOME": str(folder)}
    ran = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=30)
    assert not ran.stderr.strip(), ran.stderr
    assert not (folder / "pwned").exists()
    return record.read_text()


def _model(folder: Path, name: str) -> Path:
    path = folder / "models" / name.replace("/", "_")
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(rows()["meta-llama/Llama-3.2-1B-Instruct"]["config"]))
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_folder_with_a_hostile_name_stays_one_word(cli: Cli, tmp_path: Path, engine: str, name: str) -> None:
    path = _model(tmp_path, name)
    os.chdir(tmp_path)
    ran = cli("plan", str(path), "--gpu", ENGINES[engine], "--engine", engine, "--context", "2048", "--json")
    plans = ran.json()["plans"]
    assert plans, ran.out[:500]
    command = plans[0]["command"]
    recorded = _recorded(command["shells"]["bash"], tmp_path)
    held = [str(path), *(path.name,)]
    in_files = [text for file in command["files"] for text in [file["text"]]]
    assert any(word in recorded for word in held) or any(path.name in _words(text) for text in in_files), recorded
    for shell in ("powershell", "cmd"):
        text = command["shells"][shell]
        if text:
            words = [word for statement in read_script(text).statements for word in statement.argv]
            assert not any(word == "touch" for word in words), (shell, text)


def _words(text: str) -> str:
    """All scalars of a YAML file, or the text of any other."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return "\n".join(_scalars(content))


def _scalars(content: object) -> list[str]:
    if isinstance(content, dict):
        return [word for value in content.values() for word in _scalars(value)]
    if isinstance(content, list):
        return [word for value in content for word in _scalars(value)]
    return [str(content)]


@pytest.mark.parametrize("engine", GGUF_ENGINES)
def test_a_served_name_is_inert_in_every_step(cli: Cli, tmp_path: Path, engine: str) -> None:
    """Engines of GGUF files: the model's own name goes into steps, requests and files."""
    os.chdir(tmp_path)
    ran = cli(
        "plan", "Qwen/Qwen3-0.6B", "--gpu", GGUF_ENGINES[engine], "--engine", engine, "--context", "2048", "--json"
    )
    command = ran.json()["plans"][0]["command"]
    recorded = _recorded(command["shells"]["bash"], tmp_path)
    assert "qwen3-0.6b" in recorded.lower()
