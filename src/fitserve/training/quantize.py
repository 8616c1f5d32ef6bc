"""A quantization job: the tool, what it needs, how long it takes, what stays as it is, how large the result is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitserve.footprint.gguf_recipes import gguf_file_bytes
from fitserve.footprint.weights import kept_modules, quantizes, weight_bytes
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Interval
from fitserve.hardware.identify import gpu_rows
from fitserve.hardware.types import Accelerator
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import LanguageModel, TensorGroup

_HALF, _FULL = 2, 4
_SECONDS_PER_HOUR = 3600
_CACHES = 2  # inputs and outputs of a layer for every sample
_USUAL_CORES = 8
_SHARE_OF_SAMPLES = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A quantizer as it makes one format."""

    name: str
    version: str
    package: str
    algorithm: str
    scheme: str
    engines: tuple[str, ...]
    calibrates: bool
    own_calibration: bool
    whole_on_gpu: bool
    layers: int
    ram_share: float
    replaces: str | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a job takes. `gpu_bytes` 0: no GPU. `hours`: with a GPU of the rate that was given, or the usual cores."""

    ram_bytes: int
    gpu_bytes: int
    input_bytes: int
    intermediate_bytes: int
    output_bytes: Interval
    hours: Interval
    samples: int
    sample_tokens: int
    sample_bytes: int
    """RAM of one calibration sample: inputs and outputs of a layer."""

    def samples_within(self, ram_bytes: int) -> int:
        """Calibration samples for which RAM would be enough; 0 when even the weights do not fit."""
        weights = self.ram_bytes - self.samples * self.sample_bytes
        return max(0, (ram_bytes - weights) // self.sample_bytes) if self.samples else 0

    @property
    def disk_bytes(self) -> int:
        """Input, what lies between, and output."""
        return self.input_bytes + self.intermediate_bytes + math.ceil(self.output_bytes.high)


def _facts() -> Mapping[str, Any]:
    return load_toml("fitserve.training", "quantizers.toml")


def tools_for(weight_format: WeightFormat, engine: str | None = None) -> tuple[Tool, ...]:
    """Tools that make a format, the usual one first; those whose results an engine loads where one is named."""
    found = [_tool(row, weight_format) for row in _facts()["tools"] if _makes(row, weight_format)]
    return tuple(tool for tool in found if engine is None or engine in tool.engines)


def _makes(row: Mapping[str, Any], weight_format: WeightFormat) -> bool:
    return weight_format.name in row["makes"] or weight_format.family in set(row["makes"]) & {"gguf", "exl3", "mlx"}


def _tool(row: Mapping[str, Any], weight_format: WeightFormat) -> Tool:
    return Tool(
        name=row["name"], version=row["version"], package=row["package"], algorithm=row["algorithm"],
        scheme=row.get("scheme", {}).get(weight_format.name, ""), engines=tuple(row["engines"]),
        calibrates=bool(row.get("calibrates")), own_calibration=bool(row.get("own_calibration")),
        whole_on_gpu=bool(row.get("whole_on_gpu")), layers=int(row["layers"]), ram_share=float(row["ram"]),
        replaces=row.get("replaces"), source=row["source"]["ref"],
    )  # fmt: skip


def made_while_loading(weight_format: WeightFormat) -> str | None:
    """The library that makes a format while an engine loads; None where a job makes it."""
    found = _facts()["loading"].get(weight_format.name)
    return None if found is None else str(found)


def as_original(model: LanguageModel) -> LanguageModel:
    """The model without the types of its file, so that another mix can be worked out for it."""
    groups = tuple(replace(g, stored_type=None, stored_bytes=None) for g in model.tensors)
    return replace(model, tensors=groups, checkpoint=None, stored_weight_bytes=None)


def result_bytes(model: LanguageModel, weight_format: WeightFormat) -> Interval:
    """Bytes of the finished weights. Raises FactMissing where the name does not determine them."""
    original = as_original(model)
    if weight_format.gguf_mix is not None:
        return gguf_file_bytes(original, weight_format.gguf_mix)
    return Interval.around(weight_bytes(original, weight_format), 0.01, 0.01)


def kept_parts(model: LanguageModel, weight_format: WeightFormat) -> tuple[tuple[str, int], ...]:
    """(kind, bytes in 16 bit) of what stays unquantized: head, embedding, router, norms, vision, other parts."""
    original = as_original(model)
    kept = kept_modules(original, weight_format)
    sizes: dict[str, int] = {}
    for group in original.tensors:
        if group.role.startswith("gguf:") or quantizes(group, weight_format, kept):
            continue
        kind = _kind(group)
        sizes[kind] = sizes.get(kind, 0) + group.elements * _HALF
    return tuple(sorted(sizes.items(), key=lambda item: -item[1]))


def _kind(group: TensorGroup) -> str:
    if group.part != "text":
        return group.part
    if group.role == "output.weight":
        return "lm_head"
    if group.role == "token_embd.weight":
        return "embedding"
    if "gate_inp" in group.role:
        return "router"
    if "norm" in group.role:
        return "norms"
    return "attention" if group.role.startswith("attn") else "others"


def largest_layer_bytes(model: LanguageModel) -> int:
    """The largest layer in 16 bit."""
    sizes: dict[int, int] = {}
    for group in model.tensors:
        for index in group.layers if group.part == "text" else ():
            sizes[index] = sizes.get(index, 0) + group.elements_each * _HALF
    return max(sizes.values(), default=0)


def hessian_bytes(model: LanguageModel, weight_format: WeightFormat) -> int:
    """FP32 matrices of inputs x inputs for every quantized matrix of the largest layer; experts have one each."""
    sizes: dict[int, int] = {}
    for group in as_original(model).tensors:
        if len(group.shape) < 2 or not quantizes(group, weight_format, ()):
            continue
        copies = group.shape[2] if len(group.shape) > 2 else 1
        for index in group.layers:
            sizes[index] = sizes.get(index, 0) + group.shape[0] ** 2 * _FULL * copies
    return max(sizes.values(), default=0)


def needs(
    model: LanguageModel,
    weight_format: WeightFormat,
    tool: Tool,
    gpu: Accelerator | None,
    samples: int,
    cores: int | None,
) -> Needs:
    """What the job takes. Raises FactMissing where the size of the result is not known."""
    facts = _facts()
    plain = weight_bytes(as_original(model), parse_format("bf16"))
    tokens = int(facts["calibration"]["tokens"])
    count = samples if tool.calibrates and not tool.own_calibration else 0
    output = result_bytes(model, weight_format)
    each = _CACHES * tokens * model.hidden_size * _HALF if tool.layers else 0
    gpu_bytes = tool.layers * largest_layer_bytes(model)
    if tool.algorithm == "gptq":
        gpu_bytes += hessian_bytes(model, weight_format)
    if tool.whole_on_gpu:
        gpu_bytes = plain
    if gpu_bytes:
        gpu_bytes += tokens * model.hidden_size * _HALF * 10  # a sample in flight with its copies inside a layer
    is_gguf = weight_format.family == "gguf"
    stored = model.stored_weight_bytes or plain
    return Needs(
        ram_bytes=round(plain * tool.ram_share) + count * each, gpu_bytes=gpu_bytes,
        input_bytes=stored, intermediate_bytes=plain if is_gguf and not model.is_local else 0,
        output_bytes=output, hours=_hours(model, tool, gpu, count, stored + round(output.likely), cores),
        samples=count, sample_tokens=tokens, sample_bytes=each,
    )  # fmt: skip


def _hours(
    model: LanguageModel, tool: Tool, gpu: Accelerator | None, samples: int, moved_bytes: int, cores: int | None
) -> Interval:
    rates = _facts()["rates"]
    disk = rates["disk"]
    moving = moved_bytes / disk["bytes_per_s"]
    found = Interval(moving / disk["high"], moving, moving / disk["low"])
    row = rates.get(tool.algorithm)
    if row is not None:
        work = _work_s(row, model.params(), gpu, samples, cores)
        found = Interval(found.low + work * row["low"], found.likely + work, found.high + work * row["high"])
    return Interval(*(value / _SECONDS_PER_HOUR for value in (found.low, found.likely, found.high)))


def _work_s(row: Mapping[str, Any], params: int, gpu: Accelerator | None, samples: int, cores: int | None) -> float:
    if "params_per_core_s" in row:
        return float(params / (row["params_per_core_s"] * (cores or _USUAL_CORES)))
    rate = float(row["at_flop_per_s"])
    if gpu is not None:
        known = gpu_rows()[gpu.id]["dense_flop_per_s"]
        rate = float(known.get("bf16") or known.get("fp16") or rate)
    work = params / row["params_per_s"] * row["at_flop_per_s"] / rate
    if row["at_samples"] and samples:
        work *= 1 - _SHARE_OF_SAMPLES + _SHARE_OF_SAMPLES * samples / row["at_samples"]
    return float(work)


def deprecated_tool(name: str) -> Mapping[str, str] | None:
    """Since when a tool is no longer developed, and its successor; None for one that is."""
    rows: Mapping[str, Mapping[str, str]] = _facts()["deprecated"]
    return next((row for key, row in rows.items() if key.lower() == name.lower()), None)


def calibration() -> tuple[int, int, str]:
    """(samples, tokens of each, data set) that are usual."""
    row = _facts()["calibration"]
    return int(row["samples"]), int(row["tokens"]), str(row["dataset"])
