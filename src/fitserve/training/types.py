"""Values of a training job. Bytes are per GPU unless the name says otherwise."""

from dataclasses import dataclass

from fitserve.foundation.intervals import Basis, Interval
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel

METHODS = ("lora", "qlora", "dora", "full")
SHARDINGS = ("none", "zero-1", "zero-2", "zero-3", "fsdp")
OFFLOADS = ("none", "optimizer", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneJob:
    """A fully chosen training run.

    `targets`: roles of the matrices that get adapters. `precision`: bf16, fp16 (both with trained weights in FP32), pure
    (everything in 16 bit). `attention`: flash or eager. `loss`: full, chunked or fused. `experts_in_4bit`: QLoRA stores the
    experts of an MoE in NF4 too. `kbit_rest_bytes`: a weight that NF4 leaves out.
    """

    model: LanguageModel
    method: str
    stack: str
    weight_format: WeightFormat
    sequence_tokens: int
    micro_batch: int = 1
    accumulation: int = 1
    rank: int = 16
    targets: tuple[str, ...] = ()
    trains_embeddings: bool = False
    optimizer: str = "adamw"
    precision: str = "bf16"
    checkpointing: bool = True
    attention: str = "flash"
    loss: str = "full"
    sharding: str = "none"
    offload: str = "none"
    gpu_count: int = 1
    experts_in_4bit: bool = True
    kbit_rest_bytes: int = 2
    double_quant: bool = True
    loads_whole: bool = False
    """Every GPU holds all weights for a moment before they are shared out."""
    frees_gradients: bool = False
    """The optimizer steps inside the backward pass, so that gradients of one layer exist at a time."""

    @property
    def micro_tokens(self) -> int:
        """Tokens of one forward pass of one GPU."""
        return self.sequence_tokens * self.micro_batch

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimizer step, over all GPUs."""
        return self.micro_tokens * self.accumulation * self.gpu_count

    @property
    def shards_weights(self) -> bool:
        """Frozen and trained weights are spread over the GPUs."""
        return self.sharding in {"zero-3", "fsdp"} and self.gpu_count > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A part of the memory; `code` is weights, adapters, gradients, optimizer, checkpoints, activations, logits, …"""

    code: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """Memory of one GPU at the worst moment, which `peak` names: loss, backward or step.

    `allocated_bytes`: tensors. `total_bytes`: with the allocator's slack and the CUDA context, as nvidia-smi shows it.
    """

    items: tuple[Item, ...]
    peak: str
    allocated_bytes: Interval
    reserved_bytes: Interval
    total_bytes: Interval
    host_bytes: int
    trained_params: int
    basis: tuple[Basis, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTime:
    """Time of an optimizer step and the rate that follows; `tok_per_s` is of all GPUs together."""

    step_s: Interval
    tok_per_s: Interval
    basis: tuple[Basis, ...]
