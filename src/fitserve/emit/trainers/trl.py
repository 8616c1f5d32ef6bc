"""A TRL script: SFTTrainer with PEFT, in bf16 or fp16, on one GPU or many; without a GPU it runs on the CPU."""

from fitserve.emit.trainers.accelerate import accelerate_file, launch_words
from fitserve.emit.trainers.types import Run, TrainerFiles
from fitserve.engines.contract import LaunchFile
from fitserve.training.adapters import module_names
from fitserve.training.types import FinetuneJob

_OPTIMIZERS = {
    "adamw": "adamw_torch", "adamw-8bit": "adamw_bnb_8bit", "paged-adamw": "paged_adamw_32bit",
    "paged-adamw-8bit": "paged_adamw_8bit", "adafactor": "adafactor", "lion": "lion_32bit", "lion-8bit": "lion_8bit",
    "muon": "muon", "sgd": "sgd",
}  # fmt: skip
"""Names of `optim` in transformers TrainingArguments."""


def optimizer_name(job: FinetuneJob) -> str:
    """The name that transformers knows the optimizer by."""
    return _OPTIMIZERS[job.optimizer]


def trl_files(run: Run) -> TrainerFiles:
    """`train.py`, and `accelerate.yaml` for several GPUs."""
    lines = [*_head(run), *_data(run), *_weights(run), *_adapter(run), *_settings(run), *_tail(run)]
    files = [LaunchFile(path="train.py", text="\n".join(lines) + "\n")]
    packages = ["trl==1.16.0", "peft==0.21.2", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0"]
    if run.job.method == "qlora" or "8bit" in run.job.optimizer or "paged" in run.job.optimizer:
        packages.append("bitsandbytes")
    if run.job.sharding.startswith("zero") or run.job.offload != "none":
        packages.append("deepspeed")
    accelerate = accelerate_file(run)
    if accelerate is not None:
        files.append(accelerate)
    return TrainerFiles(files=tuple(files), argv=launch_words(run, "train.py"), install=tuple(packages))


def _head(run: Run) -> list[str]:
    names = ["SFTConfig", "SFTTrainer"]
    peft = ["from peft import LoraConfig"] if run.job.method != "full" else []
    bnb = ["from transformers import BitsAndBytesConfig"] if run.job.method == "qlora" else []
    return [
        f'"""Fine-tunes a model ({run.job.method}) with TRL 1.16.',
        "",
        'Data: chats, one JSON object a line: {"messages": [{"role": "user", "content": "..."}, ...]}.',
        '"""',
        "", "import os", "", "import torch", "from datasets import load_dataset", *peft, *bnb,
        f"from trl import {', '.join(names)}", "",
        "has_gpu = torch.cuda.is_available()",
    ]  # fmt: skip


def _data(run: Run) -> list[str]:
    if run.is_file:
        return [f'data = load_dataset("json", data_files={run.dataset!r}, split="train")']
    return [f'data = load_dataset({run.dataset!r}, split="train")']


def _weights(run: Run) -> list[str]:
    dtype = {"bf16": "bfloat16", "fp16": "float16", "pure": "bfloat16"}[run.job.precision]
    attention = "eager" if run.job.attention == "eager" else "sdpa"
    # whole models keep FP32 weights unless they are to be pure or DeepSpeed keeps the copy
    whole = run.job.method == "full" and run.job.precision != "pure" and not run.job.sharding.startswith("zero")
    kept = "float32" if whole and run.job.optimizer in {"adamw", "paged-adamw", "muon"} else dtype
    return [f'weights = {{"dtype": "{kept}", "attn_implementation": "{attention}"}}']


def _adapter(run: Run) -> list[str]:
    job = run.job
    if job.method == "full":
        return []
    modules = list(module_names(job.targets))
    lines = [
        "adapter = LoraConfig(", f"    r={job.rank},", f"    lora_alpha={run.alpha},", "    lora_dropout=0.05,",
        f"    target_modules={modules!r},", '    task_type="CAUSAL_LM",',
    ]  # fmt: skip
    if job.method == "dora":
        lines.append("    use_dora=True,")
    if job.trains_embeddings:
        lines.append('    modules_to_save=["embed_tokens", "lm_head"],')
    lines.append(")")
    if job.method == "qlora":
        lines += [
            "quantization = BitsAndBytesConfig(", "    load_in_4bit=True,", '    bnb_4bit_quant_type="nf4",',
            f"    bnb_4bit_use_double_quant={job.double_quant},",
            f"    bnb_4bit_compute_dtype=torch.{'float16' if job.precision == 'fp16' else 'bfloat16'},",
            "    bnb_4bit_quant_storage=torch.bfloat16,", ")",
        ]  # fmt: skip
    return lines


def _settings(run: Run) -> list[str]:
    job = run.job
    half = "fp16" if job.precision == "fp16" else "bf16"
    # autocast is for weights in FP32; pure 16-bit weights need none
    on = "False" if job.precision == "pure" else "has_gpu" if half == "fp16" else "True"
    return [
        "settings = SFTConfig(",
        f'    output_dir="{run.output}",',
        f"    max_length={job.sequence_tokens},",
        "    packing=False,",
        f"    per_device_train_batch_size={job.micro_batch},",
        f"    gradient_accumulation_steps={job.accumulation},",
        f"    num_train_epochs={run.epochs:g},",
        f"    learning_rate={run.learning_rate},",
        '    lr_scheduler_type="cosine",',
        "    warmup_steps=0.03,",
        f'    optim="{optimizer_name(job)}",',
        f"    {half}={on},",
        f"    gradient_checkpointing={job.checkpointing},",
        *(['    gradient_checkpointing_kwargs={"use_reentrant": False},'] if job.checkpointing else []),
        "    logging_steps=1,",
        '    save_strategy="epoch",',
        "    save_total_limit=3,",
        '    report_to="none",',
        "    use_cpu=not has_gpu,",
        "    model_init_kwargs=weights,",
        ")",
    ]


def _tail(run: Run) -> list[str]:
    peft = ["    peft_config=adapter,"] if run.job.method != "full" else []
    quantized = ["    quantization_config=quantization,"] if run.job.method == "qlora" else []
    return [
        f"trainer = SFTTrainer({run.repository!r}, args=settings, train_dataset=data,", *peft, *quantized, ")",
        'done = os.path.isdir(settings.output_dir) and any(n.startswith("checkpoint-") for n in os.listdir(settings.output_dir))',
        "trainer.train(resume_from_checkpoint=done or None)",
        "trainer.save_model(settings.output_dir)",
    ]  # fmt: skip
