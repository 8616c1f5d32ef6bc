"""vLLM as the oracle of its own cache: its code sees the real attention with everything else made small, weights dummies."""

import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from fitserve.engines.contract import Deployment
from fitserve.engines.registry import engine
from fitserve.foundation.errors import InputError, VerifyFailed
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, note
from fitserve.foundation.units import GIB, ceil_div
from fitserve.hardware.types import Machine
from fitserve.launch.oracle.child import Limits, Ran, ask
from fitserve.launch.oracle.llama_cpp import Asking
from fitserve.launch.oracle.types import Line, Verification
from fitserve.models.catalog.lookup import rows

ENGINE = "vllm"
_SCRIPT = Path(__file__).parent / "scripts/ask_vllm.py"
_CACHE = re.compile(r"^CACHE (\{.*\})$", re.MULTILINE)
_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_ERROR = re.compile(r"^(?:\S+ )*?((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)
_SMALL = {
    "hidden_size": 128, "intermediate_size": 128, "vocab_size": 512, "num_experts": 4, "num_local_experts": 4,
    "num_experts_per_tok": 2, "n_routed_experts": 4, "moe_intermediate_size": 64,
}  # fmt: skip
"""Sizes that the cache does not depend on, made small enough to start."""
_SETTINGS = {
    "block-size": "block_size",
    "max-num-seqs": "max_num_seqs",
    "max-num-batched-tokens": "max_num_batched_tokens",
}
_ROOM_BYTES = 4 * GIB  # torch and the engine's code
_PLACES = (
    "weights",
    "tensor-parallel-size",
    "pipeline-parallel-size",
    "gpu-memory-utilization",
    "kv-cache-memory-bytes",
)


def verify_vllm(deployment: Deployment, how: Asking) -> Verification:
    """Compares blocks, groups and tokens with what the installed vLLM derives.

    Raises InputError where it cannot be asked, VerifyFailed where it gives no answer.
    """
    started = time.monotonic()
    config = _small(_config(deployment))
    on_cpu, notes = _on_cpu(deployment)
    pool = _pool_bytes(on_cpu)
    settings: dict[str, Any] = {"max_model_len": deployment.context_tokens}
    settings |= {name: int(deployment.options[key]) for key, name in _SETTINGS.items() if key in deployment.options}
    if deployment.kv_format != "auto":
        settings["kv_cache_dtype"] = deployment.kv_format
    with tempfile.TemporaryDirectory(prefix="fitserve-verify-", ignore_cleanup_errors=True) as folder:
        _write(Path(folder), config, how)
        given = {"folder": folder, "parent": os.getpid(), "kv_bytes": pool, "settings": settings}
        ran = ask(
            [how.python, str(_SCRIPT), json.dumps(given)],
            Limits(seconds=how.seconds, memory_bytes=pool + _ROOM_BYTES),
            lambda output: b"\nCACHE {" in output,
            env={"TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    found = _read(ran)
    judged = on_cpu if found["platform"] == "cpu" or not deployment.machine.devices else deployment
    judged = _as_asked(judged, found, pool)
    return Verification(
        deployment=judged, lines=_compare(judged, found), seconds=time.monotonic() - started,
        notes=notes if judged.machine.is_cpu_only else (), asked={"kv_pool_bytes": pool, **settings},
        case=_case(judged, found, pool),
    )  # fmt: skip


def _config(deployment: Deployment) -> Mapping[str, Any]:
    """The config.json of the model. Raises InputError for one that is neither catalogued nor on this machine."""
    model = deployment.model
    row = rows().get(model.id)
    if row is not None:
        found: Mapping[str, Any] = row["config"]
        return found
    path = Path(model.id)
    path = path / "config.json" if path.is_dir() else path
    if path.name == "config.json" and path.is_file():
        read: Mapping[str, Any] = json.loads(path.read_bytes())
        return read
    raise InputError.of("verify_config_missing", model=model.id)


def _small(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with its attention, everything else small. The state of Mamba-2 is a multiple of the hidden size."""
    kept = {"hidden_size"} if "mamba_n_heads" in config else set()
    small: dict[str, Any] = {
        key: _SMALL[key] if key in _SMALL and key not in kept else value for key, value in config.items()
    }
    if isinstance(small.get("text_config"), Mapping):
        small["text_config"] = _small(small["text_config"])
    small.pop("quantization_config", None)
    return small


def _on_cpu(deployment: Deployment) -> tuple[Deployment, tuple[Reason, ...]]:
    unused = tuple(f"--{name}" for name in deployment.options if name not in _SETTINGS and name not in _PLACES)
    notes: list[Reason] = [note("verify_vllm_on_cpu")]
    if deployment.machine.devices:
        notes.append(note("verify_on_cpu", gpu=deployment.machine.devices[0].id))
    if unused:
        notes.append(note("verify_options_unused", options=unused))
    on_cpu = replace(
        deployment,
        tp=1,
        pp=1,
        ep=1,
        dp=1,
        machine=Machine(devices=(), host=deployment.machine.host),
        offload_layers=None,
    )
    return on_cpu, tuple(notes)


def _pool_bytes(deployment: Deployment) -> int:
    """A pool in whole GiB that holds one request; it is really allocated."""
    chosen = engine(ENGINE)
    trial = replace(deployment, options={**deployment.options, "kv-cache-memory-bytes": str(GIB)})
    needed = chosen.log_figures(trial, chosen.budget(trial))["kv_needed_gib"].likely
    pool = ceil_div(int(needed * 1.1 * GIB) + 1, GIB) * GIB
    free = psutil.virtual_memory().available
    if pool + _ROOM_BYTES > free:
        raise InputError.of("verify_needs_memory", need_bytes=pool + _ROOM_BYTES, have_bytes=free)
    return pool


def _write(folder: Path, config: Mapping[str, Any], how: Asking) -> None:
    text = json.dumps(config)
    try:
        (folder / "config.json").write_text(text, encoding="utf-8")
        if how.keep is not None:
            how.keep.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VerifyFailed(f"write {how.keep or folder}", error.strerror or str(error)) from error


def _read(ran: Ran) -> dict[str, Any]:
    if "NO_ENGINE" in ran.text:
        raise InputError.of("verify_engine_missing", engine=ENGINE, install="--python PATH")
    found = _CACHE.search(ran.text)
    if found is None:
        errors = _ERROR.findall(ran.text)
        raise VerifyFailed("start vLLM", f"{ran.ended}: {errors[-1] if errors else ran.tail[-400:]}")
    read: dict[str, Any] = json.loads(found[1])
    tokens = _TOKENS.search(ran.text)
    return read | ({"kv_tokens": int(tokens[1].replace(",", ""))} if tokens else {})


def _as_asked(deployment: Deployment, found: Mapping[str, Any], pool: int) -> Deployment:
    """The deployment with the limits that the engine chose for itself; those of a CPU differ from a GPU's."""
    options = {
        **{key: value for key, value in deployment.options.items() if key not in _PLACES},
        "kv-cache-memory-bytes": str(pool),
        "max-num-seqs": str(found["max_num_seqs"]),
        "max-num-batched-tokens": str(found["max_num_batched_tokens"]),
        "async-scheduling": str(found["async_scheduling"]).lower(),
        "enable-prefix-caching": str(found["prefix_caching"]).lower(),
    }
    version = engine(ENGINE).parse_version(found["version"].partition("+")[0])
    return replace(deployment, engine_version=version, options=options, max_num_seqs=None)


def _compare(deployment: Deployment, found: Mapping[str, Any]) -> tuple[Line, ...]:
    chosen = engine(ENGINE)
    figures = chosen.log_figures(deployment, chosen.budget(deployment))
    block = max(group["block_tokens"] for group in found["groups"])
    return (
        _line("kv_groups", figures["kv_groups"], len(found["groups"]), "count"),
        _line("block_tokens", figures["block_tokens_resolved"], block, "tokens"),
        _line("bytes_per_block", figures["bytes_per_block"], found["bytes_per_block"], "bytes"),
        _line("num_blocks", figures["num_blocks"], found["num_blocks"], "count"),
        *([_line("kv_tokens", figures["kv_tokens"], found["kv_tokens"], "tokens")] if "kv_tokens" in found else []),
    )


def _line(code: str, predicted: Interval, measured: float, unit: str) -> Line:
    return Line(code=code, predicted=predicted, engine=float(measured), unit=unit)


def _case(deployment: Deployment, found: Mapping[str, Any], pool: int) -> dict[str, Any] | None:
    """The answer as a measured case of kind vllm_kv_pool; none for a GPU, whose platform names are not those of the cases."""
    if found["platform"] != "cpu":
        return None
    given = {
        "engine": ENGINE, "engine_version": deployment.engine_version, "model": deployment.model.id,
        "architecture": deployment.model.architecture, "platform": "cpu", "kv_pool_bytes": pool,
        "context_tokens": deployment.context_tokens, "tp": 1, "kv_format": deployment.kv_format, "weight_format": "bf16",
        "max_num_batched_tokens": found["max_num_batched_tokens"], "max_num_seqs": found["max_num_seqs"],
        "prefix_caching": found["prefix_caching"], "async_scheduling": found["async_scheduling"],
    }  # fmt: skip
    if "block-size" in deployment.options:
        given["block_tokens"] = int(deployment.options["block-size"])
    measured = {
        "outcome": "ok", "block_tokens_resolved": max(group["block_tokens"] for group in found["groups"]),
        "bytes_per_block": found["bytes_per_block"], "kv_groups": len(found["groups"]), "groups": found["groups"],
        "num_blocks": found["num_blocks"], **({"kv_tokens": found["kv_tokens"]} if "kv_tokens" in found else {}),
    }  # fmt: skip
    name = re.sub(r"[^a-z0-9.]+", "-", deployment.model.id.split("/")[-1].lower())
    source = {
        "url": f"measured with vLLM {deployment.engine_version} (CPU build)", "licence": "own measurement",
        "redistributable": True, "note": "dummy weights, real attention (fitserve verify)",
    }  # fmt: skip
    case_id = f"vv-{name}-c{deployment.context_tokens}"
    return {
        "id": case_id,
        "kind": "vllm_kv_pool",
        "source": source,
        "given": given,
        "measured": measured,
        "doubt": None,
    }
