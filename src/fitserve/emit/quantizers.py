"""Scripts and commands of quantizers for a job: files, then steps in order, each with the file or folder that it makes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fitserve.engines.contract import LaunchFile
from fitserve.footprint.weights import kept_modules
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel
from fitserve.plan.quantize import QuantizeAnswer
from fitserve.training.quantize import as_original

_LOW_BITS = re.compile(r"I?Q[1-4]_|TQ")
"""Mixes of four bits and fewer gain from an importance matrix; llama-quantize demands one for the smallest."""
_NEEDS_IMATRIX = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K_S"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command, and what it makes: a step whose result is there is not run again."""

    argv: tuple[str, ...]
    makes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerFiles:
    """Files of a job, the first is the main one; its steps; what is installed first."""

    files: tuple[LaunchFile, ...]
    steps: tuple[Step, ...]
    install: tuple[str, ...]


def quantizer_files(answer: QuantizeAnswer) -> QuantizerFiles | None:
    """The files of a job; None where no tool makes the format."""
    tool = answer.tool
    if tool is None:
        return None
    made = _MAKERS[tool.name](answer)
    packages = (f"{tool.package}=={tool.version}",) if tool.package else ()
    return QuantizerFiles(files=made.files, steps=made.steps, install=packages)


def ignored_modules(model: LanguageModel, format_name: str) -> list[str]:
    """Module patterns of compressed-tensors that stay in 16 bit: head, routers, vision, and what the usual recipe keeps."""
    found = ["lm_head"]
    if any(layer.experts for layer in model.layers):
        found += [r"re:.*router$", r"re:.*mlp\.gate$", r"re:.*shared_expert_gate$"]
    if model.params("vision") or model.is_multimodal:
        found += [r"re:.*vision.*", r"re:.*visual.*", r"re:.*multi_modal_projector.*"]
    kept = kept_modules(as_original(model), parse_format(format_name))
    covered = {"lm_head", "router", "vision_model", "multi_modal_projector"}
    found += [name if name.startswith("re:") else f"re:.*{name}.*" for name in kept if name not in covered]
    return list(dict.fromkeys(found))


def _script(answer: QuantizeAnswer, lines: list[str]) -> QuantizerFiles:
    text = "\n".join(lines) + "\n"
    step = Step(argv=("python", "quantize.py"), makes=answer.output)
    return QuantizerFiles(files=(LaunchFile(path="quantize.py", text=text),), steps=(step,), install=())


def _llm_compressor(answer: QuantizeAnswer) -> QuantizerFiles:
    tool, job = answer.tool, answer.needs
    assert tool is not None
    source, target = repr(answer.repository), repr(answer.output)
    ignore = ignored_modules(answer.model, answer.weight_format.name)
    name, module = {
        "gptq": ("GPTQModifier", "llmcompressor.modifiers.gptq"),
        "awq": ("AWQModifier", "llmcompressor.modifiers.transform.awq"),
    }.get(tool.algorithm, ("QuantizationModifier", "llmcompressor.modifiers.quantization"))
    recipe = [f'recipe = {name}(targets="Linear", scheme="{tool.scheme}", ignore={ignore!r})']
    imports = [f"from {module} import {name}"]
    if tool.algorithm == "awq":
        # AWQ scales the weights; what rounds them is a modifier of its own
        imports.append("from llmcompressor.modifiers.quantization import QuantizationModifier")
        recipe = [
            "recipe = [", "    AWQModifier(),",
            f'    QuantizationModifier(targets="Linear", scheme="{tool.scheme}", ignore={ignore!r}),', "]",
        ]  # fmt: skip
    calls = ["oneshot(", "    model=model,", "    recipe=recipe,"]
    data: list[str] = []
    if job is not None and job.samples:
        data = _calibration_lines(answer, job.samples, job.sample_tokens)
        calls += [
            "    dataset=data,",
            f"    num_calibration_samples={job.samples},",
            f"    max_seq_length={job.sample_tokens},",
        ]
        if any(layer.experts for layer in answer.model.layers):
            calls.append("    moe_calibrate_all_experts=True,")
    return _script(
        answer,
        [
            f'"""A model to {tool.scheme} ({tool.algorithm}) with llm-compressor {tool.version}."""', "",
            *(["from datasets import load_dataset"] if data else []),
            "from llmcompressor import oneshot", *imports,
            "from transformers import AutoModelForCausalLM, AutoTokenizer", "",
            # the model stays in RAM; layers go to the GPU one after the other
            f'model = AutoModelForCausalLM.from_pretrained({source}, dtype="auto")',
            f"tokenizer = AutoTokenizer.from_pretrained({source})", *data, *recipe, *calls, ")",
            f"model.save_pretrained({target}, save_compressed=True)", f"tokenizer.save_pretrained({target})",
        ],
    )  # fmt: skip


def _calibration_lines(answer: QuantizeAnswer, samples: int, tokens: int) -> list[str]:
    dataset = answer.dataset
    is_file = dataset.rpartition(".")[2].lower() in {"json", "jsonl"}
    split = (
        f"train[:{samples}]"
        if is_file
        else f"train_sft[:{samples}]"
        if "ultrachat" in dataset
        else f"train[:{samples}]"
    )
    load = (
        f'load_dataset("json", data_files={dataset!r}, split="{split}")'
        if is_file
        else f'load_dataset({dataset!r}, split="{split}")'
    )
    return [
        f"data = {load}",
        "data = data.map(",
        '    lambda row: tokenizer(tokenizer.apply_chat_template(row["messages"], tokenize=False),',
        f"                          max_length={tokens}, truncation=True, add_special_tokens=False),",
        "    remove_columns=data.column_names,",
        ")",
    ]


def _gptqmodel(answer: QuantizeAnswer) -> QuantizerFiles:
    job, bits = answer.needs, int(answer.weight_format.bits or 4)
    samples = job.samples if job is not None else 0
    lines = [
        f'"""A model to GPTQ {bits} bit with GPTQModel."""', "", "from datasets import load_dataset",
        "from gptqmodel import GPTQModel, QuantizeConfig", "from transformers import AutoTokenizer", "",
        f"tokenizer = AutoTokenizer.from_pretrained({answer.repository!r})",
        *_calibration_lines(answer, samples, job.sample_tokens if job is not None else 0)[:1],
        'texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in data]',
        f"model = GPTQModel.load({answer.repository!r}, QuantizeConfig(bits={bits}, group_size=128))",
        "model.quantize(texts, batch_size=1)", f"model.save({answer.output!r})",
    ]  # fmt: skip
    return _script(answer, lines)


def _auto_round(answer: QuantizeAnswer) -> QuantizerFiles:
    argv = (
        "auto-round", "--model", answer.repository, "--scheme", "W4A16", "--format", "auto_round",
        "--output_dir", answer.output,
    )  # fmt: skip
    return _command(answer, argv)


def _modelopt(answer: QuantizeAnswer) -> QuantizerFiles:
    tool = answer.tool
    scheme = tool.scheme if tool is not None else ""
    argv = (
        "python", "examples/hf_ptq/hf_ptq.py", "--pyt_ckpt_path", answer.repository, "--qformat", scheme,
        "--export_path", answer.output,
    )  # fmt: skip
    return _command(answer, argv)


def _exllamav3(answer: QuantizeAnswer) -> QuantizerFiles:
    bits = f"{answer.weight_format.bits or 4:g}"
    argv = (
        "python", "convert.py", "--in_dir", answer.repository, "--out_dir", answer.output, "--work_dir", "work",
        "--bits", bits,
    )  # fmt: skip
    return _command(answer, argv)


def _mlx(answer: QuantizeAnswer) -> QuantizerFiles:
    bits = f"{answer.weight_format.bits or 4:g}"
    argv = (
        "mlx_lm.convert", "--hf-path", answer.repository, "--mlx-path", answer.output, "--quantize", "--q-bits", bits,
    )  # fmt: skip
    return _command(answer, argv)


def _command(answer: QuantizeAnswer, argv: tuple[str, ...]) -> QuantizerFiles:
    return QuantizerFiles(files=(), steps=(Step(argv=argv, makes=answer.output),), install=())


def _llama_cpp(answer: QuantizeAnswer) -> QuantizerFiles:
    """Conversion to 16 bit unless a file is given, an importance matrix for few bits, then the mix."""
    mix = answer.weight_format.gguf_mix or ""
    steps: list[Step] = []
    source = answer.repository
    if not source.lower().endswith(".gguf"):
        plain = answer.output.replace(f"-{mix}.gguf", "-BF16.gguf")
        steps.append(
            Step(argv=("python", "convert_hf_to_gguf.py", source, "--outtype", "bf16", "--outfile", plain), makes=plain)
        )
        source = plain
    words: tuple[str, ...] = ()
    if uses_imatrix(answer):
        data = answer.request.calibration or "calibration.txt"
        steps.append(Step(argv=("llama-imatrix", "-m", source, "-f", data, "-o", "imatrix.gguf"), makes="imatrix.gguf"))
        words = ("--imatrix", "imatrix.gguf")
    steps.append(Step(argv=("llama-quantize", *words, source, answer.output, mix), makes=answer.output))
    return QuantizerFiles(files=(), steps=tuple(steps), install=())


def uses_imatrix(answer: QuantizeAnswer) -> bool:
    """Whether the mix is made with an importance matrix: where its texts are given, or where the tool demands one."""
    mix = answer.weight_format.gguf_mix or ""
    if answer.request.imatrix == "no":
        return False
    return mix in _NEEDS_IMATRIX or (answer.request.calibration is not None and bool(_LOW_BITS.match(mix)))


_MAKERS: Mapping[str, Callable[[QuantizeAnswer], QuantizerFiles]] = {
    "llm-compressor": _llm_compressor,
    "GPTQModel": _gptqmodel,
    "auto-round": _auto_round,
    "nvidia-modelopt": _modelopt,
    "exllamav3": _exllamav3,
    "llama.cpp": _llama_cpp,
    "mlx-lm": _mlx,
}
