"""A measured fine-tuning run to the job that it was: what the source does not say is what its trainer does by itself."""

from collections.abc import Mapping
from typing import Any

from fitserve.evidence.given import GivenModel, model_of, unanswered
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Interval
from fitserve.foundation.units import GB, GIB
from fitserve.hardware.identify import gpu_rows
from fitserve.models.formats import parse_format
from fitserve.training.adapters import target_roles
from fitserve.training.memory import training_memory
from fitserve.training.time import training_time
from fitserve.training.types import METHODS, SHARDINGS, FinetuneJob, TrainingMemory

_USUAL_RANK = 16


def _facts() -> Mapping[str, Any]:
    return load_toml("fitserve.training", "facts.toml")


def stack_of(given: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The stack that a framework's name means. Raises Unanswered."""
    name = str(given.get("framework") or "")
    for stack, row in _facts()["stacks"].items():
        if name.lower().startswith(str(row["matches"]).lower()):
            return stack, row
    raise unanswered("framework_unknown", framework=name or "-")


def job_of(given: Mapping[str, Any]) -> FinetuneJob:
    """The job of a case. Raises Unanswered for what a source leaves open."""
    stack, row = stack_of(given)
    found, method = model_of(given), str(given.get("method"))
    if method not in METHODS:
        raise unanswered("method_unknown", method=method)
    if not isinstance(given.get("sequence_tokens"), int):
        raise unanswered("sequence_not_given")
    trainer = _facts()["trainers"][row["trainer"]]
    count = int(given.get("gpu_count") or 1)
    memory = _memory_bytes(given)
    saves = memory is not None and memory <= int(row.get("saves_memory_up_to_bytes", 0))
    tight = "saves_memory_up_to_bytes" in row
    names = tuple(str(item) for item in given.get("targets") or (row["targets"],))
    pure = bool(row.get("pure_16bit")) or given.get("precision") == "bf16-true"
    return FinetuneJob(
        model=found.model, method=method, stack=stack, weight_format=parse_format(_format(given, found, method)),
        sequence_tokens=given["sequence_tokens"], micro_batch=int(given.get("micro_batch") or 1),
        accumulation=int(given.get("accumulation") or 1), rank=int(given.get("rank") or row.get("rank") or _USUAL_RANK),
        targets=target_roles(found.model, names), trains_embeddings=bool(given.get("also_trained")),
        optimizer=str(given.get("optimizer") or (row.get("optimizer") if method == "full" else None) or "adamw"),
        precision="pure" if pure else "fp16" if given.get("precision") == "fp16" else "bf16",
        checkpointing=_checkpointing(given, {**trainer, **_several(row, count)}, tight, saves, method, count),
        gpu_count=count, loads_whole=bool(_several(row, count).get("loads_whole")),
        attention=str(given.get("attention") or "flash"), loss=str(row.get("loss", trainer["loss"])),
        sharding=_sharding(given, row, method, count), offload="all" if given.get("sharding") == "cpu offload" else "none",
        kbit_rest_bytes=2 if pure else int(row.get("kbit_rest", trainer["kbit_rest"])),
        double_quant=bool(row.get("double_quant", trainer["double_quant"])), frees_gradients=saves and method == "full",
    )  # fmt: skip


def _several(row: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    """What a framework does otherwise on several GPUs."""
    found: Mapping[str, Any] = row.get("several_gpus", {}) if count > 1 else {}
    return found


def _memory_bytes(given: Mapping[str, Any]) -> int | None:
    row = gpu_rows().get(str(given.get("gpu")))
    return None if row is None else int(row["memory_bytes"])


def _format(given: Mapping[str, Any], found: GivenModel, method: str) -> str:
    return str(given.get("weight_format") or ("bnb-4bit" if method == "qlora" else found.model.dtype))


def _checkpointing(
    given: Mapping[str, Any], trainer: Mapping[str, Any], tight: bool, saves: bool, method: str, count: int
) -> bool:
    if "checkpointing" in given:
        return bool(given["checkpointing"])
    if tight and method == "lora" and count == 1:
        return saves
    return bool(trainer["checkpointing"])


def _sharding(given: Mapping[str, Any], row: Mapping[str, Any], method: str, count: int) -> str:
    stated = str(given.get("sharding") or "")
    if stated in SHARDINGS:
        return stated
    if method == "full" and "full_sharding" in row:
        return str(row["full_sharding"])
    if count == 1:
        return "none"
    return "zero-2" if row.get("sum_over_gpus") else "fsdp"


def finetune_predictions(given: Mapping[str, Any]) -> dict[str, Interval]:
    """Predictions of a case: memory in the scope in which its framework prints it, and the time of a step."""
    job = job_of(given)
    _, row = stack_of(given)
    context = _facts()["physics"]["context"]
    is_old = str(given.get("gpu")) == "t4"
    memory = training_memory(job, int(context["bytes"] if is_old else context["likely_newer_bytes"]))
    found = _memory_figures(memory, row, job)
    try:
        time = training_time(job, str(given["gpu"])) if given.get("gpu") else None
    except (FactMissing, InputError, KeyError):
        time = None
    if time is not None:
        found |= {"s_per_step": time.step_s, "tok_per_s": time.tok_per_s}
    return found


def _memory_figures(memory: TrainingMemory, row: Mapping[str, Any], job: FinetuneJob) -> dict[str, Interval]:
    peak = memory.allocated_bytes if row["scope"] == "allocated" else memory.total_bytes
    times = job.gpu_count if row.get("sum_over_gpus") else 1
    return {
        "peak_gb": _scaled(peak, times / GB),
        "peak_gib": _scaled(peak, times / GIB),
        "reserved_gib": _scaled(memory.reserved_bytes, 1 / GIB),
        "process_gib": _scaled(memory.total_bytes, 1 / GIB),
    }


def _scaled(value: Interval, factor: float) -> Interval:
    return Interval(value.low * factor, value.likely * factor, value.high * factor)
