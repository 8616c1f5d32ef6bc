"""An Axolotl configuration."""

from typing import Any

from fitserve.emit.trainers.types import Run, TrainerFiles
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchFile
from fitserve.training.adapters import module_names
from fitserve.training.memory import is_moe

_OPTIMIZERS = {
    "adamw": "adamw_torch_fused", "adamw-8bit": "adamw_bnb_8bit", "paged-adamw": "paged_adamw_32bit",
    "paged-adamw-8bit": "paged_adamw_8bit", "adafactor": "adafactor", "lion": "lion_32bit", "lion-8bit": "lion_8bit",
    "muon": "muon", "sgd": "sgd",
}  # fmt: skip
_LLAMA4 = "Llama4"


def axolotl_files(run: Run) -> TrainerFiles:
    """`axolotl.yaml`; DeepSpeed stages use the files that `axolotl fetch deepspeed_configs` brings."""
    content = {**_model(run), **_adapter(run), **_data(run), **_training(run), **_sharding(run)}
    return TrainerFiles(
        files=(LaunchFile(path="axolotl.yaml", text=yaml_text(content)),),
        argv=("axolotl", "train", "axolotl.yaml"), install=("axolotl==0.21.0",),
    )  # fmt: skip


def _model(run: Run) -> dict[str, Any]:
    content: dict[str, Any] = {"base_model": run.repository}
    if run.job.loss == "fused":
        content["plugins"] = ["axolotl.integrations.liger.LigerPlugin"]
        content["liger_fused_linear_cross_entropy"] = True
    if run.job.method == "qlora":
        content["load_in_4bit"] = True
        if is_moe(run.model):
            key = "llama4_linearized_experts" if run.model.architecture.startswith(_LLAMA4) else "quantize_moe_experts"
            content[key] = True
    return content


def _adapter(run: Run) -> dict[str, Any]:
    job = run.job
    if job.method == "full":
        return {}
    content: dict[str, Any] = {
        "adapter": "qlora" if job.method == "qlora" else "lora",
        "lora_r": job.rank,
        "lora_alpha": run.alpha,
        "lora_dropout": 0.0,
        "lora_target_modules": list(module_names(job.targets)),
    }
    if job.method == "dora":
        content["peft_use_dora"] = True
    if job.trains_embeddings:
        content["lora_modules_to_save"] = ["embed_tokens", "lm_head"]
    return content


def _data(run: Run) -> dict[str, Any]:
    source: dict[str, Any] = {"path": run.dataset, "type": "chat_template"}
    if run.is_file:
        source["ds_type"] = "json"
    return {"datasets": [source], "val_set_size": 0.0, "output_dir": run.output}


def _training(run: Run) -> dict[str, Any]:
    job = run.job
    content: dict[str, Any] = {
        "sequence_len": job.sequence_tokens,
        "sample_packing": job.attention == "flash",
        "micro_batch_size": job.micro_batch,
        "gradient_accumulation_steps": job.accumulation,
        "num_epochs": run.epochs,
        "optimizer": _OPTIMIZERS[job.optimizer],
        "lr_scheduler": "cosine",
        "learning_rate": run.learning_rate,
        "warmup_ratio": 0.03,
        "attn_implementation": "flash_attention_2" if job.attention == "flash" else "eager",
        "gradient_checkpointing": job.checkpointing,
        "logging_steps": 1,
    }
    content |= {"fp16": True} if job.precision == "fp16" else {"bf16": True}
    return content


def _sharding(run: Run) -> dict[str, Any]:
    job = run.job
    if job.sharding.startswith("zero"):
        suffix = "_bf16_cpuoffload_all" if job.offload == "all" and job.sharding == "zero-3" else ""
        return {"deepspeed": f"deepspeed_configs/{job.sharding.replace('-', '')}{suffix}.json"}
    if job.sharding != "fsdp":
        return {}
    return {
        "fsdp_version": 2,
        "fsdp_config": {
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "reshard_after_forward": True,
            "cpu_ram_efficient_loading": True, "offload_params": job.offload == "all",
            "state_dict_type": "FULL_STATE_DICT",
        },
    }  # fmt: skip
