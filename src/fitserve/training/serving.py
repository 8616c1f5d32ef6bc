"""How the result of a training run is served: an adapter beside the frozen weights, or merged into them."""

from dataclasses import dataclass

from fitserve.footprint.weights import weight_bytes
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, note, warning
from fitserve.hardware.types import Machine
from fitserve.models.formats import parse_format
from fitserve.training.adapters import adapter_params
from fitserve.training.types import FinetuneJob

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that `--max-lora-rank` of vLLM takes; a test holds them to the option list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """`adapter_bytes`: of the file in 16 bit; `merged_bytes`: of all weights in BF16.

    `options`: of `vllm serve`, empty when the adapter must be merged.
    """

    adapter_bytes: int
    options: tuple[str, ...]
    merged_bytes: int
    reasons: tuple[Reason, ...]


def serving_of(job: FinetuneJob, machine: Machine, rank: int) -> Serving:
    """Adapter and merged weights; vLLM loads plain LoRA adapters up to a rank, and nothing else."""
    merged = weight_bytes(job.model, parse_format("bf16"))
    if job.method == "full":
        return Serving(adapter_bytes=0, options=(), merged_bytes=merged, reasons=(note("served_as_whole"),))
    facts = load_toml("fitserve.training", "facts.toml")["serving"]["vllm"]
    size = adapter_params(job.model, job.targets, job.rank, job.method == "dora") * 2
    reasons: list[Reason] = []
    if job.method == "dora":
        reasons.append(warning("dora_is_merged"))
    if job.trains_embeddings:
        reasons.append(warning("embeddings_are_merged"))
    if rank > facts["max_rank"]:
        reasons.append(warning("rank_beyond_server", rank=rank, most=facts["max_rank"]))
    if reasons:
        return Serving(adapter_bytes=size, options=(), merged_bytes=merged, reasons=tuple(reasons))
    options = ["--enable-lora", "--lora-modules", "tuned=./out"]
    needed = next(item for item in RANKS if item >= rank)
    if needed > facts["default_max_rank"]:
        options += ["--max-lora-rank", str(needed)]
        reasons.append(note("rank_needs_flag", rank=rank, flag=needed, default=facts["default_max_rank"]))
    if any("_exps" in role for role in job.targets):
        reasons.append(note("expert_adapters_need_release"))
    reasons.append(note("merge_before_quantizing") if job.method == "qlora" else note("merge_is_possible"))
    return Serving(adapter_bytes=size, options=tuple(options), merged_bytes=merged, reasons=tuple(reasons))
