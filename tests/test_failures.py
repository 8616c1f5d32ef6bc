"""Signatures of failures: each names its own message and no other's, also among other lines; healthy logs name none."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from fitserve.evidence.cases import packaged_cases
from fitserve.foundation.facts import load_toml

_READ = {"vllm": "vllm", "llama.cpp": "llama_cpp"}
_CARRIES_LLAMA_CPP = {"ollama", "llama-cpp-python", "llama-box", "lm-studio"}
"""Programs whose logs hold llama.cpp's own lines."""
_FEWEST_RIGHT = {"vllm": 1.0, "llama.cpp": 1.0, "carries llama.cpp": 7 / 8}
"""Shares of the packaged cases; the one that is missed, Ollama's own check of RAM, is no line of llama.cpp."""
_HEALTHY = {
    "vllm": """
INFO 11-20 14:33:20 [importing.py:44] Triton is installed but 0 active driver(s) found (expected 1). Disabling Triton.
(Worker pid=7) INFO 11-20 14:33:21 [gpu_worker.py:298] Available KV cache memory: 50.32 GiB
(Worker pid=7) INFO [gpu_worker.py:1045] Free memory on device (78.6/79.19 GiB) on startup. Desired GPU memory utilization is 0.92
WARNING 11-20 14:33:22 [parallel.py:750] Address already in use. Retrying with a new port.
(EngineCore pid=5) INFO 11-20 14:33:25 [core.py:218] GPU KV cache size: 412,000 tokens
(Worker pid=7) INFO 11-20 14:33:25 [gpu_model_runner.py:4011] Graph capturing finished in 21 secs, took 0.62 GiB
INFO:     Started server process [4242]
INFO:     Application startup complete.
INFO:     127.0.0.1:50012 - "GET /health HTTP/1.1" 200 OK
""",
    "llama.cpp": """
llama_model_loader: loaded meta data with 29 key-value pairs and 398 tensors from model.gguf (version GGUF V3 (latest))
load_tensors: offloaded 37/37 layers to GPU
load_tensors:        CUDA0 model buffer size =  4455.34 MiB
llama_context: flash_attn            = auto
llama_kv_cache: size = 1152.00 MiB (  8192 cells,  36 layers,  1/1 seqs), K (f16):  576.00 MiB, V (f16):  576.00 MiB
sched_reserve:      CUDA0 compute buffer size =   304.75 MiB
llama_params_fit: successfully fit params to free device memory
srv    load_model: prompt cache is enabled, size limit: 8192 MiB
main: server is listening on http://127.0.0.1:8080
srv  update_slots: all slots are idle
""",
}  # fmt: skip


def _rows(engine_id: str) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = load_toml(f"fitserve.engines.{_READ[engine_id]}", "failures.toml")["failures"]
    return rows


def _cause(engine_id: str, log: str) -> str | None:
    """Category of the first row that matches anywhere."""
    return next((row["category"] for row in _rows(engine_id) if re.search(row["pattern"], log, re.MULTILINE)), None)


def _group(engine_id: str) -> str | None:
    if engine_id in _CARRIES_LLAMA_CPP:
        return "carries llama.cpp"
    return engine_id if engine_id in _READ else None


@pytest.mark.parametrize("engine_id", _READ)
def test_each_category_is_found_from_its_sample_among_all_signatures(engine_id: str) -> None:
    rows = _rows(engine_id)
    assert len({row["category"] for row in rows}) == len(rows) > 15
    for row in rows:
        assert _cause(engine_id, row["sample"]) == row["category"]
        within = (
            _HEALTHY[engine_id] + f"(EngineCore_DP0 pid=77) ERROR 11-20 [core.py:718] {row['sample']}\n[rank0]: …\n"
        )
        assert _cause(engine_id, within) == row["category"], row["category"]


@pytest.mark.parametrize("engine_id", _READ)
def test_a_healthy_log_has_no_cause(engine_id: str) -> None:
    assert _cause(engine_id, _HEALTHY[engine_id]) is None


def test_the_cause_stands_before_what_follows_from_it() -> None:
    log = (
        "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    )
    assert _cause("vllm", log) == "parallel.heads"
    allocation = "E alloc_buffer: allocating 9866.00 MiB on device 0: cudaMalloc failed: out of memory\n"
    assert _cause("llama.cpp", allocation) == "memory.device"
    assert (
        _cause("llama.cpp", allocation + "error loading model: unable to allocate CUDA0 buffer\n") == "memory.weights"
    )
    assert _cause("llama.cpp", allocation + "failed to allocate buffer for kv cache\n") == "memory.kv_cache"


@pytest.mark.parametrize(
    ("frame", "category"),
    [
        ('File "/opt/vllm/v1/worker/gpu_worker.py", line 270, in load_model', "memory.load_oom"),
        ('File "/opt/vllm/v1/worker/gpu_model_runner.py", line 3417, in capture_model', "memory.cudagraph_oom"),
        ('File "/opt/vllm/v1/worker/gpu_model_runner.py", line 3011, in profile_run', "memory.torch_oom"),
    ],
)
def test_the_phase_of_an_allocation_failure_is_read_from_its_frames(frame: str, category: str) -> None:
    error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.25 GiB. GPU 3 has 79.19 GiB"
    log = f"Traceback (most recent call last):\n  {frame}\n    self.model(…)\n{error}\n"
    assert _cause("vllm", log) == category


def test_the_packaged_cases_are_told_apart() -> None:
    right: dict[str, list[bool]] = {}
    for case in packaged_cases():
        group = _group(str(case.given.get("engine")))
        if case.kind == "failure_log" and group is not None:
            engine_id = "vllm" if group == "vllm" else "llama.cpp"
            right.setdefault(group, []).append(_cause(engine_id, case.given["log"]) == case.measured["category"])
    assert {group: len(found) for group, found in right.items()} == {"vllm": 40, "llama.cpp": 9, "carries llama.cpp": 8}
    for group, found in right.items():
        assert sum(found) / len(found) >= _FEWEST_RIGHT[group], group
