"""`verify`: the header that is written, the process that asks, the comparison, and everything that can go wrong between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import psutil
import pytest

from conftest import Ran, deployment, machine
from fitserve.engines.registry import engine
from fitserve.evidence.cases import cases_of
from fitserve.evidence.score import rows_of
from fitserve.footprint.gguf_mix import typed_tensors
from fitserve.foundation.errors import InputError, VerifyFailed, WorldError
from fitserve.foundation.intervals import Interval
from fitserve.foundation.units import MIB
from fitserve.launch.oracle import llama_cpp, vllm
from fitserve.launch.oracle.child import Limits, ask
from fitserve.launch.oracle.gguf_metadata import file_metadata, row_lengths, tensor_names
from fitserve.launch.oracle.gguf_writer import named_tensors, write_hollow_gguf
from fitserve.launch.oracle.llama_cpp import Asking, verify_llama_cpp
from fitserve.launch.oracle.types import Line
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.readers.local import read_local

_ROOM = Limits(seconds=20, memory_bytes=1 << 30)
_LOG = """ENGINE 2026.10.11549
0.1 I print_info: file size   = {file_size} (4.90 BPW)
0.2 I load_tensors:          CPU model buffer size =     0.00 MiB
0.2 I llama_context:        CPU  output buffer size =     {output:.2f} MiB
0.3 I llama_kv_cache: size = {kv:7.2f} MiB (  8192 cells,  36 layers,  1/1 seqs), K (f16): 1 MiB, V (f16): 1 MiB
0.4 I sched_reserve:        CPU compute buffer size = {compute:8.2f} MiB
0.5 I common_memory_breakdown_print: |   - Host               |                 6061 =  {model} +  {context} +   120      |
0.6 I common_params_fit_impl: projected to use 6061 MiB of host memory vs. 24105 MiB of total host memory
0.7 I sched_reserve:        CPU compute buffer size =  999.99 MiB
"""
_HEADERS = [
    "Qwen/Qwen3-0.6B",
    "google/gemma-4-E2B-it",
    "deepseek-ai/DeepSeek-V2-Lite",
    "ibm-granite/granite-4.0-h-tiny",
    "LiquidAI/LFM2-350M",
    "MiniMaxAI/MiniMax-M3",
    "moonshotai/Kimi-Linear-48B-A3B-Instruct",
]


def _write(path: Path, name: str, with_vocabulary: bool = True) -> Path:
    model = catalog_model(name)
    rows = named_tensors(typed_tensors(model, "Q4_K_M"), tensor_names(model), row_lengths(model))
    metadata = file_metadata(model, "Q4_K_M")
    if not with_vocabulary:  # the `gguf` package reads it item by item
        metadata = {key: value for key, value in metadata.items() if not key.startswith("tokenizer.")}
    with path.open("wb") as file:
        write_hollow_gguf(file, metadata, rows)
    return path


@pytest.mark.parametrize("name", _HEADERS)
def test_the_header_says_what_the_model_is(name: str, tmp_path: Path) -> None:
    """Our own reader makes the same layers and bytes of it, the `gguf` package the same tensors."""
    path, model = _write(tmp_path / "m.gguf", name, with_vocabulary=False), catalog_model(name)
    read = read_local(path)
    expected = [(layer.mixers, layer.dense is not None, layer.experts is not None) for layer in model.layers]
    assert [len(mixers) for mixers, *_ in expected] == [len(layer.mixers) for layer in read.layers]
    assert [item[1:] for item in expected] == [(x.dense is not None, x.experts is not None) for x in read.layers]
    tensors = typed_tensors(model, "Q4_K_M")
    assert read.stored_weight_bytes == sum(tensor.total_bytes for tensor in tensors)
    theirs = gguf.GGUFReader(path)
    assert len(theirs.tensors) == sum(max(1, len(tensor.layers)) for tensor in tensors)
    assert sum(int(tensor.n_bytes) for tensor in theirs.tensors) == read.stored_weight_bytes


def test_the_vocabulary_has_as_many_tokens_as_the_embedding_has_rows(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.gguf", "meta-llama/Llama-2-7b-hf")
    tokens = gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"]
    assert len(tokens.data) == 32_000 and tokens.contents(1) == "<s>"
    assert len(set(tokens.contents())) == 32_000


def test_the_file_is_a_hole(tmp_path: Path) -> None:
    status = _write(tmp_path / "m.gguf", "deepseek-ai/DeepSeek-V2-Lite").stat()
    assert status.st_size > 9_000 * MIB and status.st_blocks * 512 < 16 * MIB


@pytest.mark.parametrize(
    ("predicted", "engine_said", "plus_minus", "share", "agrees"),
    [
        (1000.0, 1000.0, 0, 0.005, True),
        (1004.9, 1000.0, 0, 0.005, True),
        (1006.0, 1000.0, 0, 0.005, False),
        (1006.0, 1000.0, 2, 0.005, True),
        (1099.0, 1000.0, 0, 0.10, True),
        (899.0, 1000.0, 0, 0.10, False),
        (0.0, 12.0, 0, 0.005, False),
        (12.0, 0.0, 0, 0.005, False),
    ],
)
def test_a_line_agrees_within_its_share(
    predicted: float, engine_said: float, plus_minus: float, share: float, agrees: bool
) -> None:
    line = Line(code="x", predicted=Interval.exact(predicted), engine=engine_said, plus_minus=plus_minus, share=share)
    assert line.agrees is agrees
    assert (line.error_pct is None) is (engine_said == 0)


def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Another program in the engine's place."""
    script = tmp_path / "fake_engine.py"
    script.write_text("import json, os, sys, time\ngiven = json.loads(sys.argv[1])\n" + code, encoding="utf-8")
    monkeypatch.setattr(llama_cpp, "_SCRIPT", script)


def _prints(log: str) -> str:
    return f"sys.stderr.write({log!r}); sys.stderr.flush(); time.sleep(30)"


def _deployed(**changes: Any) -> Any:
    return deployment("Qwen/Qwen3-8B", "gguf:Q4_K_M", "llama.cpp", machine(), **changes)


def _true_log(**changes: Any) -> str:
    """What the engine would print if the prediction were right, but for `changes`."""
    chosen = engine("llama.cpp")
    deployed = _deployed(options={"repack": "off"}, engine_version="b11549")
    sizes = {item.code: item.likely_bytes / MIB for item in chosen.budget(deployed).host_items}
    usual = {
        "model": int(sizes["weights"]), "kv": sizes["kv_cache"], "compute": sizes["compute_buffer"],
        "output": sizes["output_buffer"], "context": int(sizes["kv_cache"]),
        "file_size": f"{sizes['weights'] / 1024:.2f} GiB",
    }  # fmt: skip
    return _LOG.format(**{**usual, **changes})


def test_what_the_engine_says_is_compared_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake(monkeypatch, tmp_path, _prints(_true_log()))
    found = verify_llama_cpp(_deployed(), Asking(seconds=20))
    assert found.agrees and found.deployment.engine_version == "b11549"
    assert [line.code for line in found.lines] == [
        "weights", "kv_cache", "output_buffer", "compute_buffer", "cache_total",
    ]  # fmt: skip
    assert found.seconds < 15, "it waited for a process that had answered"
    _fake(monkeypatch, tmp_path, _prints(_true_log(kv=2000.0)))
    differing = verify_llama_cpp(_deployed(), Asking(seconds=20))
    assert [line.code for line in differing.lines if not line.agrees] == ["kv_cache"]
    assert not differing.agrees


def test_a_tensor_that_is_placed_twice_is_counted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without memory mapping the engine makes two tensors of some tied embeddings; the file has one."""
    _fake(monkeypatch, tmp_path, _prints(_true_log(model=5500)))
    assert verify_llama_cpp(_deployed(), Asking(seconds=20)).agrees


def test_the_engine_is_given_the_settings_of_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    _fake(monkeypatch, tmp_path, f"open({str(seen)!r}, 'w').write(sys.argv[1])\n" + _prints(_true_log()))
    options = {
        "flash-attn": "off",
        "ub": "256",
        "kv-unified": "on",
        "swa-full": "on",
        "threads": "3",
        "gpu-layers": "9",
    }
    on_gpu = deployment(
        "Qwen/Qwen3-8B", "gguf:Q4_K_M", "llama.cpp", machine("rtx-3090"), max_num_seqs=3, options=options
    )
    found = verify_llama_cpp(on_gpu, Asking(seconds=20))
    given = json.loads(seen.read_text())
    assert given["slots"] == 3 and given["context_tokens"] == 3 * 8192 and given["micro_batch_tokens"] == 256
    assert given["unified"] and given["full_window_cache"] and not given["flash_attention"]
    notes = {reason.code: reason.parameters for reason in found.notes}
    assert notes["verify_options_unused"]["options"] == ("--threads",) and "verify_on_cpu" in notes


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('ENGINE 2026.10.11549'); print('E llama_model_load: error loading model: unknown model architecture: x')",
         "unknown model architecture: x"),
        ("print('ENGINE 2026.10.11549'); print('/a/ggml-impl.h:330: fatal error'); os.abort()", "ggml-impl.h:330"),
        ("os.kill(os.getpid(), 9)", "exit -9"),
        ("print('ENGINE 2026.10.11549', flush=True); time.sleep(60)", "timeout"),
        ("print('ENGINE 2026.10.11549', flush=True)\nx = bytearray(b'x') * (4 << 30)\ntime.sleep(60)", "memory"),
        ("print('ENGINE 2026.10.11549'); print('projected to use nothing'); time.sleep(60)", "projected"),
    ],
)  # fmt: skip
def test_an_engine_without_an_answer(code: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake(monkeypatch, tmp_path, code)
    monkeypatch.setattr(llama_cpp, "_ROOM_BYTES", 200 * MIB)
    started = time.monotonic()
    with pytest.raises(VerifyFailed) as error:
        verify_llama_cpp(_deployed(), Asking(seconds=8))
    assert said in str(error.value) and time.monotonic() - started < 20
    assert not _children()


def _children() -> list[int]:
    return [p.pid for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake(monkeypatch, tmp_path, "print('NO_ENGINE No module named xllamacpp')")
    with pytest.raises(InputError) as error:
        verify_llama_cpp(_deployed(), Asking(seconds=20))
    assert error.value.problems[0].code == "verify_engine_missing"
    with pytest.raises(WorldError):
        verify_llama_cpp(_deployed(), Asking(python="/no/such/python", seconds=20))


def test_a_state_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recurrent states are allocated for real; caches are not, whatever their size."""
    monkeypatch.setattr(llama_cpp.psutil, "virtual_memory", lambda: type("M", (), {"available": 4 << 30})())
    deployed = deployment("nvidia/Nemotron-H-56B-Base-8K", "gguf:Q4_K_M", "llama.cpp", machine(), max_num_seqs=64)
    with pytest.raises(InputError) as error:
        verify_llama_cpp(deployed, Asking())
    assert error.value.problems[0].code == "verify_needs_memory"


def test_a_full_disk_is_said_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(llama_cpp, "write_hollow_gguf", full)
    for keep in (None, tmp_path / "kept.gguf"):
        with pytest.raises(VerifyFailed, match="No space left"):
            verify_llama_cpp(_deployed(), Asking(keep=keep))
    assert not list(tmp_path.iterdir())


def test_a_kept_file_stays_and_none_is_overwritten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake(monkeypatch, tmp_path, _prints(_true_log()))
    kept = tmp_path / "kept.gguf"
    verify_llama_cpp(_deployed(), Asking(seconds=20, keep=kept))
    assert read_local(kept).hidden_size == 4096
    with pytest.raises(VerifyFailed, match="exists"):
        verify_llama_cpp(_deployed(), Asking(seconds=20, keep=kept))
    assert kept.exists()


_KILLED = """
import sys
from pathlib import Path
from fitserve.launch.oracle import llama_cpp
sys.path.insert(0, {tests!r})
from conftest import deployment, machine
llama_cpp._SCRIPT = Path({script!r})
llama_cpp.verify_llama_cpp(
    deployment("Qwen/Qwen3-8B", "gguf:Q4_K_M", "llama.cpp", machine()), llama_cpp.Asking(seconds=60)
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends a child with its parent on Linux alone")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_killed_from_outside_it_leaves_no_process_and_no_file(sign: signal.Signals, tmp_path: Path) -> None:
    script, pid_file = tmp_path / "fake.py", tmp_path / "pid"
    real = str(Path(llama_cpp.__file__).parent / "scripts")
    script.write_text(
        f"import json, os, sys, time\nsys.path.insert(0, {real!r})\nfrom ask_llama_cpp import tie_to\n"
        f"tie_to(json.loads(sys.argv[1])['parent'])\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    code = _KILLED.format(tests=str(Path(__file__).parent), script=str(script))
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as parent:
        _until(lambda: pid_file.exists() and pid_file.read_text() != "")
        child = int(pid_file.read_text())
        parent.send_signal(sign)
        parent.wait(timeout=20)
    _until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
    assert not list(temporary.iterdir())


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_flood_of_text_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitserve.launch.oracle.child._MOST_LOG_BYTES", 1 << 20)
    ran = ask([sys.executable, "-c", "while True: print('x' * 9999)"], _ROOM, lambda _: False)
    assert ran.ended == "log" and len(ran.text) < 4 << 20 and not _children()


_CACHE = {
    "version": "0.32.0+cpu", "platform": "cpu", "num_blocks": 2048, "bytes_per_block": 524288, "max_num_seqs": 256,
    "max_num_batched_tokens": 4096, "prefix_caching": True, "async_scheduling": False,
    "groups": [{"kind": "SlidingWindow", "layers": 4, "block_tokens": 128}] * 6
    + [{"kind": "FullAttention", "layers": 4, "block_tokens": 128}],
}  # fmt: skip


def test_a_vllm_is_asked_with_the_real_attention_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script, seen = tmp_path / "fake.py", tmp_path / "config.json"
    script.write_text(
        "import json, shutil, sys\ngiven = json.loads(sys.argv[1])\n"
        f"shutil.copy(given['folder'] + '/config.json', {str(seen)!r})\n"
        f"print('KV cache size: 58,661 tokens')\nprint('CACHE', {json.dumps(_CACHE)!r}, flush=True)\n"
    )
    monkeypatch.setattr(vllm, "_SCRIPT", script)
    deployed = deployment("google/gemma-3-1b-it", "bf16", "vllm", machine())
    found = vllm.verify_vllm(deployed, Asking(seconds=20))
    assert found.agrees, [(line.code, line.error_pct) for line in found.lines]
    assert {line.code for line in found.lines} >= {"kv_groups", "bytes_per_block", "num_blocks", "kv_tokens"}
    config = json.loads(seen.read_text())
    assert config["hidden_size"] == 128 and config["sliding_window"] == 512 and config["num_hidden_layers"] == 26
    script.write_text("print('ValueError: this model is not supported')")
    with pytest.raises(VerifyFailed, match="not supported"):
        vllm.verify_vllm(deployed, Asking(seconds=20))


def test_the_answer_in_both_languages_and_as_a_case_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    _fake(monkeypatch, tmp_path, _prints(_true_log()))
    asked = ("verify", "Qwen/Qwen3-8B", "--gpu", "none", "--format", "Q4_K_M", "--context", "8192")
    english, korean = cli(*asked), cli(*asked, "--lang", "ko")
    assert english.code == 0 and "allocates what the budget says" in english.out and "KV cache" in english.out
    assert korean.code == 0 and "예측과 같습니다" in korean.out and "연산 버퍼" in korean.out
    out = tmp_path / "case.json"
    told = cli(*asked, "--json", "--out", str(out)).json()
    assert told["agrees"] and told["lines"][0]["item"] == "weights"
    rows = [row for case in cases_of([str(out)]) for row in rows_of(case)]
    assert {row.metric.partition(".")[0] for row in rows} >= {"model_mib", "kv_mib", "compute_mib", "output_mib"}
    assert all(row.is_right for row in rows if row.metric.startswith(("kv_mib", "model_mib")))
    _fake(monkeypatch, tmp_path, _prints(_true_log(compute=900.0)))
    differing = cli(*asked)
    assert differing.code == 1 and "differs" in differing.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["Qwen/Qwen3-8B", "--engine", "sglang"], 2, "verify asks one engine"),
        (["Qwen/Qwen3-8B", "--engine", "llama.cpp", "--engine", "vllm"], 2, "verify asks one engine"),
        (["Qwen/Qwen3-8B", "--format", "awq", "--gpu", "none"], 1, "GGUF"),
        (["Qwen/Qwen3-8B", "--timeout", "soon"], 2, "--timeout"),
        (["meta-llama/Llama-3.2-11B-Vision", "--gpu", "none", "--format", "Q4_K_M"], 1, "llama.cpp"),
    ],
)
def test_what_cannot_be_asked_is_said(words: list[str], code: int, said: str, cli: Callable[..., Ran]) -> None:
    ran = cli("verify", *words)
    assert ran.code == code and said in ran.out + ran.err
