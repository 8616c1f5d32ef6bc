"""The configuration of `accelerate launch` for runs that are shared out or offloaded."""

from typing import Any

from fitserve.emit.trainers.types import Run
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchFile

_NAME = "accelerate.yaml"


def needs_accelerate(run: Run) -> bool:
    """Whether one process on one GPU is not enough."""
    return run.job.gpu_count > 1 or run.job.offload != "none"


def launch_words(run: Run, script: str) -> tuple[str, ...]:
    """The command that runs a script."""
    if not needs_accelerate(run):
        return ("python", script)
    return ("accelerate", "launch", "--config_file", _NAME, script)


def accelerate_file(run: Run) -> LaunchFile | None:
    """The file; None for one GPU without offload."""
    if not needs_accelerate(run):
        return None
    job = run.job
    content: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "num_machines": 1,
        "num_processes": job.gpu_count,
        "mixed_precision": "no" if job.precision == "pure" else job.precision,
    }
    if job.sharding == "fsdp":
        content |= {"distributed_type": "FSDP", "fsdp_config": fsdp_settings(run)}
    elif job.sharding.startswith("zero") or job.offload != "none":
        content |= {"distributed_type": "DEEPSPEED", "deepspeed_config": _deepspeed(run)}
    else:
        content["distributed_type"] = "MULTI_GPU"
    return LaunchFile(path=_NAME, text=yaml_text(content))


def fsdp_settings(run: Run) -> dict[str, Any]:
    """Version 2 of FSDP: whole layers are gathered, and let go after use."""
    return {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_reshard_after_forward": True,
        "fsdp_cpu_ram_efficient_loading": True,
        "fsdp_offload_params": run.job.offload == "all",
        "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        "fsdp_activation_checkpointing": False,
    }


def _deepspeed(run: Run) -> dict[str, Any]:
    job = run.job
    stage = {"zero-1": 1, "zero-2": 2, "zero-3": 3}.get(job.sharding, 3 if job.offload == "all" else 2)
    return {
        "zero_stage": stage,
        "offload_optimizer_device": "none" if job.offload == "none" else "cpu",
        "offload_param_device": "cpu" if job.offload == "all" else "none",
        "gradient_accumulation_steps": job.accumulation,
        "zero3_init_flag": stage == 3,
        "zero3_save_16bit_model": stage == 3,
    }
