"""A LLaMA-Factory configuration with the entry of its dataset."""

import json
from typing import Any

from fitserve.emit.trainers.trl import optimizer_name
from fitserve.emit.trainers.types import Run, TrainerFiles
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchFile
from fitserve.training.adapters import module_names

_TEMPLATES = {
    "llama4": "llama4", "llama": "llama3", "qwen2": "qwen", "qwen3": "qwen3", "qwen3_moe": "qwen3", "mistral": "mistral",
    "gemma2": "gemma", "gemma3": "gemma3", "gemma3_text": "gemma", "phi3": "phi4", "glm4": "glm4",
}  # fmt: skip
"""Chat templates by model type; `default` where none is known to fit."""


def llama_factory_files(run: Run) -> TrainerFiles:
    """`llamafactory.yaml` and `dataset_info.json`."""
    content = {**_model(run), **_method(run), **_data(run), **_training(run)}
    info = {"tuning_data": {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": {
        "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system",
    }, **({"file_name": run.dataset} if run.is_file else {"hf_hub_url": run.dataset})}}  # fmt: skip
    return TrainerFiles(
        files=(
            LaunchFile(path="llamafactory.yaml", text=yaml_text(content)),
            LaunchFile(path="dataset_info.json", text=json.dumps(info, ensure_ascii=False, indent=2) + "\n"),
        ),
        argv=("llamafactory-cli", "train", "llamafactory.yaml"), install=("llamafactory==0.9.5",),
    )  # fmt: skip


def _model(run: Run) -> dict[str, Any]:
    content: dict[str, Any] = {"model_name_or_path": run.repository, "stage": "sft", "do_train": True}
    if run.job.method == "qlora":
        content |= {"quantization_bit": 4, "quantization_method": "bnb", "double_quantization": run.job.double_quant}
    content["flash_attn"] = "fa2" if run.job.attention == "flash" else "disabled"
    if run.job.loss == "fused":
        content["enable_liger_kernel"] = True
    if not run.job.checkpointing:
        content["disable_gradient_checkpointing"] = True
    return content


def _method(run: Run) -> dict[str, Any]:
    job = run.job
    if job.method == "full":
        return {"finetuning_type": "full", "pure_bf16": job.precision == "pure"}
    content: dict[str, Any] = {
        "finetuning_type": "lora", "lora_rank": job.rank, "lora_alpha": run.alpha, "lora_dropout": 0.05,
        "lora_target": ",".join(module_names(job.targets)),
    }  # fmt: skip
    if job.method == "dora":
        content["use_dora"] = True
    if job.trains_embeddings:
        content["additional_target"] = "embed_tokens,lm_head"
    return content


def _data(run: Run) -> dict[str, Any]:
    return {
        "dataset": "tuning_data",
        "dataset_dir": ".",
        "template": _TEMPLATES.get(run.model.model_type, "default"),
        "cutoff_len": run.job.sequence_tokens,
        "output_dir": run.output,
    }


def _training(run: Run) -> dict[str, Any]:
    job = run.job
    content: dict[str, Any] = {
        "per_device_train_batch_size": job.micro_batch,
        "gradient_accumulation_steps": job.accumulation,
        "num_train_epochs": run.epochs,
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": "cosine",
        "optim": optimizer_name(job),
        "logging_steps": 1,
        "save_strategy": "epoch",
        "save_total_limit": 3,
    }
    content |= {"fp16": True} if job.precision == "fp16" else {} if job.precision == "pure" else {"bf16": True}
    if job.sharding.startswith("zero"):
        content["deepspeed"] = f"examples/deepspeed/ds_z{job.sharding[-1]}_config.json"
    elif job.sharding == "fsdp":
        content["fsdp"] = "full_shard auto_wrap" + (" offload" if job.offload == "all" else "")
    return content
