"""Time of an optimizer step: operations at the rate of the GPU, what every layer costs to start, unpacking, the links."""

import math
from functools import lru_cache

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.intervals import Basis, Interval
from fitserve.hardware.identify import gpu_rows
from fitserve.models.types import LanguageModel
from fitserve.predict.work import attention_flop
from fitserve.training.coefficients import coefficient, data, spread
from fitserve.training.memory import frozen_bytes, trained_params
from fitserve.training.types import FinetuneJob, TrainingTime

_PER_WEIGHT = 2.0  # a multiplication and an addition
_PCIE_BYTES_PER_S = 16e9  # PCIe 3.0 x16, the slowest link that a catalogue GPU has


@lru_cache(maxsize=256)
def active_params(model: LanguageModel) -> float:
    """Weights that multiply one token: experts by the share that a token takes, embeddings not, the head once."""
    total = float(model.vocab_size * model.hidden_size if model.tied_embeddings else 0)
    shares = {
        index: layer.experts.used / layer.experts.count for index, layer in enumerate(model.layers) if layer.experts
    }
    for group in model.tensors:
        if group.part != "text" or len(group.shape) < 2 or group.role == "token_embd.weight" or "gguf" in group.role:
            continue
        if "_exps" in group.role:
            total += sum(group.elements_each * shares.get(index, 1.0) for index in group.layers)
        else:
            total += group.elements
    return total


def passes(job: FinetuneJob) -> float:
    """Forward passes' worth of work a token costs: forward, backward to the inputs, to the weights, and recomputing."""
    trained = 1.0 if job.method == "full" else 0.0
    return 2.0 + trained + (1.0 if job.checkpointing else 0.0)


def micro_flop(job: FinetuneJob) -> float:
    """Operations of forward and backward of one micro batch; padding (`filled`) costs none where batches are cut to it."""
    filled = coefficient(job.stack, "filled")
    tokens = job.micro_tokens * filled
    matrices = _PER_WEIGHT * active_params(job.model) * tokens
    attention = attention_flop(job.model, job.sequence_tokens * filled, 0) * job.micro_batch
    # gradients of queries, keys and values cost two and a half times the forward pass, arXiv:2307.08691 section 3.1
    return matrices * passes(job) + attention * (3.5 + (1.0 if job.checkpointing else 0.0))


def _peak(gpu: str) -> float:
    rates = gpu_rows()[gpu]["dense_flop_per_s"]
    found = rates.get("bf16") or rates.get("fp16") or rates.get("fp32")
    if not found:
        raise FactMissing(f"16 bit operations a second of {gpu}", "hardware/catalog/gpus.json")
    return float(found)


def _link(gpu: str) -> float:
    rates = [float(item["bytes_per_s_per_direction"] or 0) for item in gpu_rows()[gpu]["interconnects"]]
    return max(rates, default=0.0) or _PCIE_BYTES_PER_S


def _started(job: FinetuneJob) -> int:
    """Layers that are started one after the other; NF4 experts are modules of their own, each started by itself.

    With that, 4k tokens of Llama 4 Scout on an H100 take 5.8 s; 7.9 s were measured (519 tokens a second, README of
    axolotl/examples/llama-4).
    """
    separate = job.method == "qlora" and job.experts_in_4bit
    return sum(1 + (layer.experts.count if separate and layer.experts else 0) for layer in job.model.layers)


def step_s(job: FinetuneJob, gpu: str) -> float:
    """Likely seconds of an optimizer step. Raises FactMissing for a GPU without rates."""
    rounds = 3.0 if job.checkpointing else 2.0
    compute = micro_flop(job) / (_peak(gpu) * coefficient(job.stack, "efficiency"))
    started = _started(job) * coefficient(job.stack, "layer_s") * rounds
    if job.shards_weights or job.sharding == "zero-3":
        started *= coefficient(job.stack, "gather_factor")
    unpacked = 0.0
    if job.method == "qlora":
        kind = "nf4" if job.weight_format.family == "bnb" else "gptq"
        unpacked = frozen_bytes(job) * rounds / coefficient(job.stack, f"{kind}_bytes_per_s")
    sent = 0.0
    if job.gpu_count > 1:
        # gathered forward and once more backward, where recomputing finds them
        volume = frozen_bytes(job) * 2.0 if job.shards_weights else 0.0
        volume += 2.0 * trained_params(job) * 2 / job.accumulation
        sent = volume / (_link(gpu) * coefficient(job.stack, "link_share"))
    offloaded = 0.0 if job.offload == "none" else frozen_bytes(job) * rounds / job.gpu_count / _PCIE_BYTES_PER_S
    # a GPU that is busy hides what starting and unpacking take only in part
    micro = math.hypot(compute, started) + unpacked + sent + (offloaded if job.offload == "all" else 0.0)
    return micro * job.accumulation


def training_time(job: FinetuneJob, gpu: str) -> TrainingTime:
    """Time of a step with its interval."""
    likely = step_s(job, gpu)
    below, above = spread("all", "time")
    step = Interval(likely * (1 - below), likely, likely * (1 + above))
    tokens = job.step_tokens
    return TrainingTime(
        step_s=step,
        tok_per_s=Interval(tokens / step.high, tokens / step.likely, tokens / step.low),
        basis=(Basis("fitted", f"tools/fit_finetune.py, {data()['cases']} cases"),),
    )
