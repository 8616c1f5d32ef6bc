"""llama.cpp as the oracle of its own allocation: a header without weights is loaded, its lines are compared with the budget."""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import psutil

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.registry import engine
from fitserve.footprint.gguf_recipes import recipe_tensors
from fitserve.foundation.errors import InputError, VerifyFailed
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, note
from fitserve.foundation.units import GIB, MIB
from fitserve.hardware.types import Machine
from fitserve.launch.oracle.child import Limits, Ran, ask
from fitserve.launch.oracle.gguf_metadata import file_metadata, row_lengths, tensor_names
from fitserve.launch.oracle.gguf_writer import named_tensors, write_hollow_gguf
from fitserve.launch.oracle.types import COMPUTE_SHARE, EXACT_SHARE, Line, Verification

ENGINE = "llama.cpp"
_SCRIPT = Path(__file__).parent / "scripts/ask_llama_cpp.py"
_BUILD = re.compile(r"^ENGINE \d+\.\d+\.(\d+)", re.MULTILINE)
_REFUSED = re.compile(
    r"error loading model: (.+)|GGML_ASSERT\((.+)\) failed|^\S*/([\w.-]+:\d+: fatal error)", re.MULTILINE
)
_ROW = re.compile(r"\|\s+- .+?\|.*=\s+(\d+) \+\s+(\d+) \+\s+(\d+)\s")
_ANSWERED = b"projected to use"
_FILE_SIZE = re.compile(r"file size += ([\d.]+) (MiB|GiB)")
_LOOK_BACK = 1 << 18
_LINES = {
    "kv_cache": re.compile(r"llama_kv_cache: size = +([\d.]+) MiB"),
    "recurrent_state": re.compile(r"(?:RS|DSV4 \S+ state) buffer size = +([\d.]+) MiB"),
    "compute_buffer": re.compile(r"compute buffer size = +([\d.]+) MiB"),
    "output_buffer": re.compile(r"output buffer size = +([\d.]+) MiB"),
}
_METRICS = {
    "weights": "model_mib",
    "kv_cache": "kv_mib",
    "recurrent_state": "rs_mib",
    "compute_buffer": "compute_mib",
    "output_buffer": "output_mib",
}
_HALF_DIGIT = 0.005 * MIB
_USED = frozenset(
    [
        "ctx-size",
        "c",
        "parallel",
        "np",
        "kv-unified",
        "kvu",
        "no-kv-unified",
        "ubatch-size",
        "ub",
        "batch-size",
        "b",
        "cache-type-k",
        "ctk",
        "cache-type-v",
        "ctv",
        "flash-attn",
        "fa",
        "swa-full",
    ]
)
"""Options that decide what is allocated and are handed to the engine."""
_OF_DEVICES = frozenset(
    ["gpu-layers", "n-gpu-layers", "tensor-split", "n-cpu-moe", "main-gpu", "split-mode", "repack", "no-repack"]
)
_ROOM_BYTES = 2 * GIB  # the interpreter, the engine's code, its vocabulary and graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How the engine is asked: which interpreter has it, how long it may take, and where the file is kept, if at all."""

    python: str = sys.executable
    seconds: float = 120.0
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: str
    header_bytes: int
    apparent_bytes: int
    fds: tuple[int, ...] = ()


def verify_llama_cpp(deployment: Deployment, how: Asking) -> Verification:
    """Compares the budget of a deployment with the real engine's lines.

    Raises InputError where it cannot be asked, VerifyFailed where it gives no answer.
    """
    started = time.monotonic()
    on_cpu, notes = _on_cpu(deployment)
    settings = _settings(on_cpu)
    memory = _check_memory(on_cpu)
    with _file(on_cpu, how) as file:
        given = {**settings, "path": file.path, "parent": os.getpid()}
        ran = ask(
            [how.python, str(_SCRIPT), json.dumps(given)],
            Limits(seconds=how.seconds, memory_bytes=memory),
            lambda output: output.find(_ANSWERED, max(0, len(output) - _LOOK_BACK)) >= 0,
            env={"GGML_NO_BACKTRACE": "1"},  # an abort would start a debugger
            pass_fds=file.fds,
        )
    build = _build(ran)
    on_cpu = replace(on_cpu, engine_version=build)
    found = _read(ran, build)
    lines = _compare(engine(ENGINE).budget(on_cpu), found)
    asked = {"header_bytes": file.header_bytes, "apparent_bytes": file.apparent_bytes, **settings}
    if how.keep is not None:
        asked["kept"] = str(how.keep)
    return Verification(
        deployment=on_cpu, lines=lines, seconds=time.monotonic() - started, notes=notes, asked=asked,
        case=_case(on_cpu, settings, found),
    )  # fmt: skip


def _on_cpu(deployment: Deployment) -> tuple[Deployment, tuple[Reason, ...]]:
    """The deployment without its GPUs, and what that leaves out."""
    kept = {name: value for name, value in deployment.options.items() if name not in _OF_DEVICES}
    unused = tuple(f"--{name}" for name in kept if name not in _USED)
    notes: list[Reason] = []
    if deployment.machine.devices:
        notes.append(note("verify_on_cpu", gpu=deployment.machine.devices[0].id))
    if unused:
        notes.append(note("verify_options_unused", options=unused))
    on_cpu = replace(
        deployment, tp=1, pp=1, ep=1, dp=1, offload_layers=None, options={**kept, "repack": "off"},
        machine=Machine(devices=(), host=deployment.machine.host),
    )  # fmt: skip
    return on_cpu, tuple(notes)


def _settings(deployment: Deployment) -> dict[str, Any]:
    """The plan's own settings, as its budget resolved them."""
    resolved = engine(ENGINE).budget(deployment).details["laid"].settings
    names = (
        "context_tokens", "slots", "unified", "full_window_cache", "batch_tokens", "micro_batch_tokens", "key_format",
        "value_format", "flash_attention",
    )  # fmt: skip
    return {name: getattr(resolved, name) for name in names}


def _check_memory(deployment: Deployment) -> int:
    """Bytes that the process may use. Recurrent states are the one thing that this pass really allocates."""
    items = engine(ENGINE).budget(deployment).host_items
    states = sum(item.likely_bytes for item in items if item.code in {"recurrent_state", "output_buffer"})
    needed, free = states + _ROOM_BYTES, psutil.virtual_memory().available
    if needed > free:
        raise InputError.of("verify_needs_memory", need_bytes=needed, have_bytes=free)
    return needed + states // 2


@contextmanager
def _file(deployment: Deployment, how: Asking) -> Iterator[_File]:
    """The header as a file; on Linux one without a name, so that nothing is left whatever ends us."""
    own = Path(deployment.model.id)
    if deployment.model.is_local and own.is_file():
        size = own.stat().st_size
        yield _File(path=str(own), header_bytes=size, apparent_bytes=size)
        return
    try:
        with _opened(how.keep) as (file, name):
            header, whole = _written(file, deployment)
            fd = file.fileno()
            path = name or f"/proc/self/fd/{fd}"
            yield _File(path=path, header_bytes=header, apparent_bytes=whole, fds=() if name else (fd,))
    except OSError as error:
        where = str(how.keep or tempfile.gettempdir())
        raise VerifyFailed(f"write {where}", error.strerror or str(error)) from error


@contextmanager
def _opened(keep: Path | None) -> Iterator[tuple[BinaryIO, str | None]]:
    """A new file and its name; no name where it has none."""
    if keep is not None:
        with keep.open("xb") as file:
            try:
                yield file, str(keep)
            except OSError:
                keep.unlink(missing_ok=True)
                raise
    elif sys.platform == "linux":
        with tempfile.TemporaryFile() as file:
            yield cast("BinaryIO", file), None
    else:
        with tempfile.TemporaryDirectory(prefix="fitserve-verify-") as folder:
            path = Path(folder) / "header.gguf"
            with path.open("wb") as file:
                yield file, str(path)


def _written(file: BinaryIO, deployment: Deployment) -> tuple[int, int]:
    model, mix = deployment.model, deployment.weight_format.gguf_mix or ""
    rows = named_tensors(recipe_tensors(model, mix), tensor_names(model), row_lengths(model))
    return write_hollow_gguf(file, file_metadata(model, mix), rows)


def _build(ran: Ran) -> str:
    """The build that answered."""
    if "NO_ENGINE" in ran.text:
        raise InputError.of("verify_engine_missing", engine=ENGINE, install="pip install 'fitserve[engines]'")
    found = _BUILD.search(ran.text)
    if found is None:
        raise VerifyFailed("ask llama.cpp", f"{ran.ended} {ran.code}: {ran.tail[-400:]}")
    return f"b{found[1]}"


def _read(ran: Ran, build: str) -> dict[str, tuple[float, float]]:
    """(bytes, half of what the print leaves open) by item. Raises VerifyFailed when the engine said no or said nothing."""
    if ran.ended != "answered":
        refused = _REFUSED.search(ran.text)
        said = next(filter(None, refused.groups()), "") if refused else ran.tail[-400:]
        raise VerifyFailed(f"load the header in llama.cpp {build}", f"{ran.ended}: {said}")
    text = ran.text[: ran.text.rindex(_ANSWERED.decode())]
    rows = _ROW.findall(text)
    found = {}
    for code, line in _LINES.items():
        sizes = [float(size) * MIB for size in line.findall(text)]
        found[code] = (sum(sizes), _HALF_DIGIT * len(sizes))
    if not rows or not found["compute_buffer"][0]:
        raise VerifyFailed(f"read the buffers of llama.cpp {build}", ran.tail[-400:])
    half = 0.5 * MIB * len(rows)  # whole MiB, cut off
    found["weights"] = _weights(text, sum(int(row[0]) for row in rows) * MIB + half, half)
    found["cache_total"] = (sum(int(row[1]) for row in rows) * MIB + half, half)
    return found


def _weights(text: str, placed: float, half: float) -> tuple[float, float]:
    """What is placed, unless a tensor is placed twice, which happens without memory mapping alone: then the file's tensors.

    Architectures that make the tied output before the input embedding (Gemma 3n and 4) get two copies.
    """
    size = _FILE_SIZE.search(text)
    if size is None:
        return placed, half
    unit = MIB if size[2] == "MiB" else GIB
    stored, digit = float(size[1]) * unit, 0.005 * unit
    return (stored, digit) if placed - half > stored + digit + MIB else (placed, half)


def _compare(budget: MemoryBudget, found: Mapping[str, tuple[float, float]]) -> tuple[Line, ...]:
    predicted = {item.code: item.bytes for item in budget.host_items}
    held = sum(predicted[code].likely for code in ("kv_cache", "recurrent_state") if code in predicted)
    lines = []
    for code in ("weights", "kv_cache", "recurrent_state", "output_buffer", "compute_buffer"):
        value, half = found[code]
        if value or code in predicted:
            share = COMPUTE_SHARE if code == "compute_buffer" else EXACT_SHARE
            expected = predicted.get(code, Interval.exact(0))
            lines.append(Line(code=code, predicted=expected, engine=value, plus_minus=half, share=share))
    total, half = found["cache_total"]
    lines.append(Line(code="cache_total", predicted=Interval.exact(held), engine=total, plus_minus=half))
    return tuple(lines)


def _case(
    deployment: Deployment, settings: Mapping[str, Any], found: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """The answer as a measured case of kind gguf_memory."""
    model, version = deployment.model, deployment.engine_version
    given = {
        "engine": ENGINE, "engine_version": version, "model": model.id, "architecture": model.gguf_architecture,
        "weight_format": deployment.weight_format.name, "gpus": [], "gpu_layers": 0,
        "context_tokens": settings["context_tokens"], "parallel": settings["slots"], "unified_kv": settings["unified"],
        "batch_tokens": settings["batch_tokens"], "ubatch_tokens": settings["micro_batch_tokens"],
        "flash_attention": settings["flash_attention"], "k_format": settings["key_format"],
        "v_format": settings["value_format"], "swa_full": settings["full_window_cache"], "repack": False,
    }  # fmt: skip
    measured: dict[str, Any] = {"outcome": "ok"}
    printed = {metric: found[code] for code, metric in _METRICS.items() if found[code][0]}
    measured |= {metric: {"CPU": round(value / MIB, 2)} for metric, (value, _) in printed.items()}
    measured["plus_minus"] = {metric: round(half / MIB, 3) for metric, (_, half) in printed.items()}
    source = {
        "url": f"measured with llama.cpp {version} (xllamacpp)", "licence": "own measurement", "redistributable": True,
        "note": "allocation-only pass over header and tensor table (fitserve verify), CPU build",
    }  # fmt: skip
    name = re.sub(r"[^a-z0-9.]+", "-", f"{model.id.split('/')[-1]}-{deployment.weight_format.name}".lower())
    marks = [f"c{given['context_tokens']}", f"np{given['parallel']}", f"ub{given['ubatch_tokens']}", given["k_format"]]
    marks += [mark for mark, on in (("u", given["unified_kv"]), ("swa", given["swa_full"])) if on]
    marks += [] if given["flash_attention"] else ["fa0"]
    case_id = "-".join(["lcv", name, *map(str, marks)])
    return {"id": case_id, "kind": "gguf_memory", "source": source, "given": given, "measured": measured, "doubt": None}
