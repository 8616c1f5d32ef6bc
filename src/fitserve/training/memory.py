"""Memory of one GPU during fine-tuning, item by item, at the worst of three moments: loss, backward, step."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fitserve.footprint.weights import quantizes, weight_bytes
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Basis, Interval
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel
from fitserve.training.activations import backward_bytes, checkpoint_bytes, is_wide, loss_bytes
from fitserve.training.adapters import adapter_params
from fitserve.training.coefficients import coefficient, spread
from fitserve.training.types import FinetuneJob, Item, TrainingMemory

_HALF, _FULL = 2, 4
_NF4_PLAIN_BITS = 4.5  # 4 bits and a float32 for 64 weights, arXiv:2305.14314 section 3


def optimizer_row(name: str) -> Mapping[str, Any]:
    """Facts of an optimizer."""
    row: Mapping[str, Any] = load_toml("fitserve.training", "facts.toml")["optimizers"][name]
    return row


def frozen_bytes(job: FinetuneJob) -> int:
    """Bytes of all weights as they lie on the GPUs together before anything is trained."""
    parts = ("text", "vision")
    if job.method != "qlora":
        return weight_bytes(
            job.model, job.weight_format if not job.weight_format.is_quantized else parse_format("bf16"), parts=parts
        )
    if job.weight_format.family != "bnb":
        return weight_bytes(job.model, job.weight_format, parts=parts)
    quantized = rest = 0
    for group in job.model.tensors:
        if group.part not in parts or group.role.startswith("gguf:"):
            continue
        if quantizes(group, job.weight_format, ()) and (job.experts_in_4bit or len(group.shape) < 3):
            quantized += group.elements
        else:
            # experts that stay are BF16, whatever is done to norms and embeddings
            rest += group.elements * (job.kbit_rest_bytes if len(group.shape) < 3 and group.part == "text" else _HALF)
    bits = job.weight_format.effective_bits() if job.double_quant else _NF4_PLAIN_BITS
    return round(quantized * bits / 8) + rest


def trained_params(job: FinetuneJob) -> int:
    """Weights that get gradients."""
    if job.method == "full":
        return job.model.params("text") + job.model.params("vision")
    return adapter_params(job.model, job.targets, job.rank, job.method == "dora") + embedding_params(job)


def embedding_params(job: FinetuneJob) -> int:
    """Weights of embedding and head that are trained whole beside adapters."""
    if not job.trains_embeddings or job.method == "full":
        return 0
    return sum(g.elements for g in job.model.tensors if g.role in {"token_embd.weight", "output.weight"})


def _widths(job: FinetuneJob) -> tuple[float, float, float]:
    """Bytes of (the trained copy, its gradient, the optimizer's states) of one trained weight."""
    row = optimizer_row(job.optimizer)
    states = float(row["state_bytes"])
    if job.sharding.startswith("zero") and job.method == "full":
        return 0.0, _HALF, states + _FULL  # DeepSpeed keeps the FP32 copy with the states
    if job.method != "full":
        if job.precision == "pure":
            return _HALF, _HALF, states / 2
        return _FULL, _FULL, states
    if row["master"] and job.precision != "pure":
        return 0.0, _HALF, states + _FULL  # ZeRO, arXiv:1910.02054: 2 + 2 + 12
    return 0.0, _HALF, states / 2 if row["master"] else states


def _largest_gathered(job: FinetuneJob) -> float:
    """Whole weights of two layers in a row (one at work, one on its way) and the largest matrix outside of them."""
    if not job.shards_weights or job.loads_whole:
        return 0.0
    model = job.model
    outside = max((g.elements_each for g in model.tensors if g.part == "text" and not g.layers), default=0)
    layers: dict[int, int] = {}
    for group in model.tensors:
        for index in group.layers if group.part == "text" else ():
            layers[index] = layers.get(index, 0) + group.elements_each
    share = frozen_bytes(job) / max(1, model.params("text") + model.params("vision"))
    pairs = (size + layers.get(index + 1, 0) for index, size in layers.items())
    return max(pairs, default=0) * share + outside * _HALF


def _static(job: FinetuneJob) -> dict[str, float]:
    """Items that are there all the time, per GPU."""
    count = job.gpu_count
    trained = trained_params(job)
    copy, gradient, states = _widths(job)
    weights = frozen_bytes(job) / (count if job.shards_weights and not job.loads_whole else 1)
    over_all = count if job.shards_weights else 1
    over_grads = count if job.sharding in {"zero-2", "zero-3", "fsdp"} else 1
    over_states = count if job.sharding in {"zero-1", "zero-2", "zero-3", "fsdp"} else 1
    items = {
        "weights": weights,
        "adapters": trained * copy / over_all,
        "gradients": trained * gradient / over_grads,
        "optimizer": 0.0 if optimizer_row(job.optimizer).get("paged") else trained * states / over_states,
        "gathered": _largest_gathered(job),
    }
    if job.offload == "all":
        items |= {"weights": 0.0, "adapters": 0.0, "gradients": items["gradients"], "optimizer": 0.0}
        items["gathered"] = max(
            items["gathered"], _largest_gathered(replace(job, sharding="fsdp", gpu_count=max(2, count)))
        )
    elif job.offload == "optimizer":
        items["optimizer"] = 0.0
    if job.frees_gradients:
        items["gradients"] /= max(1, len(job.model.layers))
    if job.method == "full" and job.sharding.startswith("zero"):
        items["gradients"] += trained * coefficient(job.stack, "deepspeed_copy") / over_grads
    return items


def host_bytes(job: FinetuneJob) -> int:
    """RAM of the machine that offloaded parts take, for all GPUs; pinned copies of gradients of an offloaded optimizer too."""
    trained = trained_params(job)
    copy, gradient, states = _widths(job)
    total = 0.0
    if job.offload in {"optimizer", "all"}:
        total += trained * (states + gradient)
    if job.offload == "all":
        total += frozen_bytes(job) + trained * copy
    return round(total)


def training_memory(job: FinetuneJob, context_bytes: int | None = None) -> TrainingMemory:
    """The memory of one GPU; `context_bytes` replaces the usual size of a CUDA context."""
    static = _static(job)
    checkpoints, backward, loss = checkpoint_bytes(job), backward_bytes(job), loss_bytes(job)
    trained = trained_params(job)
    step = trained * coefficient(job.stack, "step_copy") / (job.gpu_count if job.sharding != "none" else 1)
    # without checkpointing everything that the layers keep is still there while the loss is computed
    moments = {
        "loss": {"checkpoints": checkpoints, "activations": 0.0 if job.checkpointing else backward, "logits": loss},
        "backward": {"checkpoints": checkpoints, "activations": backward},
        "step": {"step": step},
    }
    peak = max(moments, key=lambda name: sum(moments[name].values()))
    parts = {**static, **moments[peak]}
    dynamic = sum(moments[peak].values())
    allocated = sum(parts.values())
    share = coefficient(job.stack, f"slack_{job.attention}")
    share += coefficient(job.stack, "slack_wide") if is_wide(job) else 0.0
    slack = dynamic * share + coefficient(job.stack, "fixed_bytes")
    context = context_bytes or load_toml("fitserve.training", "facts.toml")["physics"]["context"]["likely_newer_bytes"]
    items = {**parts, "allocator": slack, "cuda_context": float(context)}
    reserved = allocated + slack
    return TrainingMemory(
        items=tuple(Item(code=code, bytes=round(size)) for code, size in items.items() if size >= 1),
        peak=peak,
        allocated_bytes=Interval.around(allocated, *spread(spread_row(job), "allocated")),
        reserved_bytes=Interval.around(reserved, *spread(spread_row(job), "reserved")),
        total_bytes=Interval.around(reserved + context, *spread(spread_row(job), "total")),
        host_bytes=host_bytes(job),
        trained_params=trained,
        basis=(Basis("fitted", f"tools/fit_finetune.py, stack {job.stack}"),),
    )


def spread_row(job: FinetuneJob) -> str:
    """Whose errors the intervals have: the stack's own where its cases are like the job, else those of all others."""
    facts = load_toml("fitserve.training", "facts.toml")["stacks"][job.stack]
    is_like = job.gpu_count == 1 and job.method in {"lora", "qlora"} and job.checkpointing and not is_moe(job.model)
    return (
        job.stack if not facts.get("narrow") or (is_like and job.loss == "full" and job.offload == "none") else "other"
    )


def is_moe(model: LanguageModel) -> bool:
    """Whether some layers hold experts."""
    return any(layer.experts is not None for layer in model.layers)
