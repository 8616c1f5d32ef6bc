"""What `finetune` is asked."""

from typing import Literal

from pydantic import Field

from fitserve.plan.fields import Amount, Amounts, Bytes, Count, Positive, Text, Texts, Tokens
from fitserve.plan.request import Request, System

Method = Literal["lora", "qlora", "dora", "full"]
Trainer = Literal["trl", "axolotl", "llama-factory", "unsloth"]
Optimizer = Literal[
    "adamw", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "adafactor", "lion", "lion-8bit", "muon", "sgd"
]
Switch = Literal["on", "off"]


class FinetuneRequest(Request):
    """A model, a machine and a training run; without `gpu` and `hardware` it is the machine that this runs on."""

    model: Text
    method: Method = Field(default="lora", description="finetune_method")
    trainer: Trainer = "trl"
    gpu: Texts = ()
    hardware: Text | None = Field(default=None, description="hardware_file")
    ram: Bytes | None = None
    os: System | None = None
    sequence: Tokens = 2048
    micro_batch: Count = 1
    accumulation: Count = 8
    rank: Count = 16
    target: Texts = Field(default=("all-linear",), description="lora_target")
    train_embeddings: bool = False
    optimizer: Optimizer = "adamw"
    precision: Literal["auto", "bf16", "fp16", "pure"] = Field(default="auto", description="train_precision")
    attention: Literal["flash", "eager"] = Field(default="flash", description="train_attention")
    loss: Literal["auto", "full", "chunked", "fused"] = Field(default="auto", description="train_loss")
    checkpointing: Switch = "on"
    sharding: Literal["auto", "none", "zero-1", "zero-2", "zero-3", "fsdp"] = "auto"
    offload: Literal["none", "optimizer", "all"] = Field(default="none", description="train_offload")
    dataset: Text | None = None
    tokens: Tokens | None = Field(default=None, description="train_tokens")
    epochs: Positive = 1.0
    usd_per_hour: Amount | None = None
    hours: Amounts = ()
    currency: Text | None = None
    exchange_rate: Texts = ()
    dry_run: bool = False
