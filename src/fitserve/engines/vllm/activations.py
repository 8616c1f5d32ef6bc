"""Peak of vLLM's profile run, runtime memory and CUDA graphs: physics with coefficients fitted from named logs.

The profile run of V1 makes a forward pass over `max_num_batched_tokens` dummy tokens and a sampler pass over
`max_num_seqs` dummy requests. With a vocabulary of 100k and more the sampler rules: its copies of the logits are some
15 bytes each (38 before 0.17). Expert kernels keep a workspace alive through it. Coefficients: coefficients.json, made
by tools/fit_vllm_memory.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.engines.vllm.load import first_moe
from fitserve.engines.vllm.rules import PACKAGE
from fitserve.foundation.facts import load_json
from fitserve.foundation.units import ceil_div, round_up
from fitserve.foundation.versions import rows_for_version
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel

_LOGIT_PADDING = 64  # vocab_parallel_embedding.py pads the vocabulary to whole 64s


def coefficients() -> Mapping[str, Any]:
    """The fitted numbers, with the cases they rest on."""
    content: Mapping[str, Any] = load_json(PACKAGE, "coefficients.json")
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """The two limits that size the profile run."""

    batched_tokens: int
    sequences: int


def hidden_bytes(model: LanguageModel, limits: BatchLimits) -> int:
    """Hidden states of the profile batch, 16 bit."""
    return limits.batched_tokens * model.hidden_size * 2


def expert_workspace_bytes(
    model: LanguageModel, weight_format: WeightFormat, tp: int, limits: BatchLimits, stage: range
) -> int:
    """Buffers of the fused expert kernel: tokens x experts x the wider of its two outputs, twice.

    fused_moe.py workspace shapes; MXFP4 kernels work without them (gpt-oss logs).
    """
    found = first_moe(model, stage)
    if found is None or weight_format.name == "mxfp4":
        return 0
    used, width = found
    share, hidden = ceil_div(width, tp), model.hidden_size
    return limits.batched_tokens * used * (max(2 * share, hidden) + max(share, hidden)) * 2


def sampler_logits(model: LanguageModel, limits: BatchLimits) -> int:
    """Logits of the dummy sampler run."""
    return min(limits.sequences, limits.batched_tokens) * round_up(model.vocab_size, _LOGIT_PADDING)


def forward_bytes(model: LanguageModel, tp: int, limits: BatchLimits, stage: range) -> int:
    """Residual, input and output of a block, and the two outputs of the feed-forward block, 16 bit."""
    width = max((dense.width for i in stage if (dense := model.layers[i].dense) is not None), default=0)
    return limits.batched_tokens * (3 * model.hidden_size + 3 * ceil_div(width, tp)) * 2


def activation_bytes(
    model: LanguageModel,
    weight_format: WeightFormat,
    version: str,
    tp: int,
    limits: BatchLimits,
    stage: range,
    samples: bool,
) -> float:
    """Peak increase of the profile run on one rank; `samples` is false on pipeline stages before the last."""
    fitted = coefficients()
    workspace = expert_workspace_bytes(model, weight_format, tp, limits, stage)
    forward = forward_bytes(model, tp, limits, stage) * fitted["forward_scale"]["value"] + workspace
    if not samples:
        return float(forward)
    per_logit = rows_for_version(fitted["sampler_bytes_per_logit"], version)[0]["value"]
    sampler = per_logit * sampler_logits(model, limits) + hidden_bytes(model, limits) + workspace
    return float(max(sampler, forward))


def runtime_bytes(version: str, ranks: int) -> float:
    """CUDA context, NCCL and kernel workspaces that PyTorch does not account for, per rank."""
    rows = [row for row in coefficients()["runtime_bytes"] if row["parallel"] == (ranks > 1)]
    # no case of an older release: its figure is then the oldest one that was measured
    found = rows_for_version(rows, version) or rows
    return float(found[0]["value"])


def graph_bytes(model: LanguageModel, stage: range) -> float:
    """CUDA graphs of the default capture sizes on one rank (linear in layers and hidden size, more with experts)."""
    terms = coefficients()["graph_bytes"]["terms"]
    moe = 1 if first_moe(model, stage) else 0
    return float(
        terms["constant"] + terms["layer"] * len(stage) + terms["hidden"] * model.hidden_size + terms["experts"] * moe
    )
