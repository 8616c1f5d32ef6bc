"""An Unsloth script: its loader and kernels, TRL's trainer. One GPU."""

from fitserve.emit.trainers.trl import optimizer_name
from fitserve.emit.trainers.types import Run, TrainerFiles
from fitserve.engines.contract import LaunchFile
from fitserve.training.adapters import module_names


def unsloth_files(run: Run) -> TrainerFiles:
    """`train.py`."""
    lines = [*_load(run), *_adapter(run), *_train(run)]
    return TrainerFiles(
        files=(LaunchFile(path="train.py", text="\n".join(lines) + "\n"),),
        argv=("python", "train.py"), install=("unsloth==2026.10.9",),
    )  # fmt: skip


def _load(run: Run) -> list[str]:
    job = run.job
    whole = "    full_finetuning=True," if job.method == "full" else f"    load_in_4bit={job.method == 'qlora'},"
    data = f'"json", data_files={run.dataset!r}' if run.is_file else repr(run.dataset)
    return [
        f'"""Fine-tunes a model ({job.method}) with Unsloth. Data: chats, one {{"messages": [...]}} a line."""',
        "", "from unsloth import FastLanguageModel  # first: it changes what the next ones import", "",
        "from datasets import load_dataset", "from trl import SFTConfig, SFTTrainer", "",
        "model, tokenizer = FastLanguageModel.from_pretrained(", f"    model_name={run.repository!r},",
        f"    max_seq_length={job.sequence_tokens},", whole, ")",
        f'data = load_dataset({data}, split="train")',
        "data = data.map(lambda row: {\"text\": tokenizer.apply_chat_template(row[\"messages\"], tokenize=False)})",
    ]  # fmt: skip


def _adapter(run: Run) -> list[str]:
    job = run.job
    if job.method == "full":
        return []
    checkpointing = '"unsloth"' if job.checkpointing else "False"
    modules = list(module_names(job.targets)) + (["embed_tokens", "lm_head"] if job.trains_embeddings else [])
    lines = [
        "model = FastLanguageModel.get_peft_model(", "    model,", f"    r={job.rank},", f"    lora_alpha={run.alpha},",
        "    lora_dropout=0,", f"    target_modules={modules!r},",
        f"    use_gradient_checkpointing={checkpointing},",
    ]  # fmt: skip
    return [*lines, *(["    use_dora=True,"] if job.method == "dora" else []), ")"]


def _train(run: Run) -> list[str]:
    job = run.job
    half = "fp16" if job.precision == "fp16" else "bf16"
    return [
        "settings = SFTConfig(", f'    output_dir="{run.output}",', '    dataset_text_field="text",',
        f"    max_length={job.sequence_tokens},", f"    per_device_train_batch_size={job.micro_batch},",
        f"    gradient_accumulation_steps={job.accumulation},", f"    num_train_epochs={run.epochs:g},",
        f"    learning_rate={run.learning_rate},", '    lr_scheduler_type="cosine",', "    warmup_steps=0.03,",
        f'    optim="{optimizer_name(job)}",', f"    {half}=True,", "    logging_steps=1,", '    save_strategy="epoch",',
        '    report_to="none",', ")",
        "trainer = SFTTrainer(model=model, processing_class=tokenizer, args=settings, train_dataset=data)",
        "trainer.train()", f'model.save_pretrained("{run.output}")', f'tokenizer.save_pretrained("{run.output}")',
    ]  # fmt: skip
