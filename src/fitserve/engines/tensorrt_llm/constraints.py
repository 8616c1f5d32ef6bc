"""What TensorRT-LLM refuses: platform, architecture, format by GPU family, cache type, shapes, length, options."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.releases import at_least
from fitserve.engines.shapes import shape_reasons
from fitserve.engines.tensorrt_llm.command import CONFIG_FILE, config_text
from fitserve.engines.tensorrt_llm.rules import (
    FACTS,
    architecture_row,
    family,
    known_options,
    needs_autodeploy,
    quant_method,
    used,
)
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.hardware.types import Accelerator

_MODELS = Source("documentation", "TensorRT-LLM docs/source/models/supported-models.md, 1.1 to 1.4.0rc1", "2026-11-20")
_MODELOPT_NAMES = {"fp8": "fp8", "nvfp4": "nvfp4", "awq-4bit": "int4_awq"}
_OWN_METHODS = {"awq", "gptq"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason at once, warnings and notes among them."""
    found = [*_platform(deployment), *_architecture(deployment), *_format(deployment), *_cache(deployment)]
    found += [*shape_reasons(deployment), *_rest(deployment)]
    return tuple(found)


def _platform(deployment: Deployment) -> Iterator[Reason]:
    devices, os_name = used(deployment), deployment.machine.host.os
    if not devices:
        yield not_supported("engine_needs_gpu", engine="tensorrt-llm")
        return
    others = sorted({device.vendor for device in devices} - {"nvidia"})
    if others:
        yield not_supported("vendor_not_supported", engine="tensorrt-llm", vendor=others[0])
        return
    if os_name == "windows":
        yield note("runs_in_docker_desktop", engine="tensorrt-llm")
    elif os_name != "linux":
        yield not_supported("os_not_supported", engine="tensorrt-llm", os=os_name)
    if len(devices) > 1:
        yield warning("mixed_devices_as_smallest", engine="tensorrt-llm")
    for device in devices:
        if (device.capability_number or 0) < FACTS.value("cuda_capability_floor"):
            yield not_supported(
                "capability_too_low", FACTS.source("cuda_capability_floor"), engine="tensorrt-llm",
                version=deployment.engine_version, gpu=device.id, have=device.compute_capability or "?", need="8.0",
                last_version=None,
            )  # fmt: skip


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.architecture, deployment.engine_version
    row = architecture_row(name)
    if row is None:
        yield unknown("architecture_unknown_to_engine", _MODELS, engine="tensorrt-llm", architecture=name)
    elif not at_least(version, row["in"]):
        yield not_supported(
            "architecture_too_new", _MODELS, engine="tensorrt-llm", architecture=name, version=version,
            first_version=row["in"],
        )  # fmt: skip
    elif needs_autodeploy(name, version):
        yield note("trtllm_autodeploy", _MODELS, architecture=name)


def _format(deployment: Deployment) -> Iterator[Reason]:
    weight_format = deployment.weight_format
    source = FACTS.source("format_capabilities")
    if not weight_format.is_quantized:
        return
    families = FACTS.value("format_capabilities").get(weight_format.name)
    if families is None:
        yield not_supported("format_not_supported", source, engine="tensorrt-llm", format=weight_format.name)
        return
    for device in used(deployment):
        if device.vendor == "nvidia":
            yield from _on_family(deployment, device, families, source)
    yield from _checkpoint(deployment)


def _on_family(deployment: Deployment, device: Accelerator, families: list[int], source: Source) -> Iterator[Reason]:
    name, have = deployment.weight_format.name, device.compute_capability or "?"
    if family(device) in families:
        if deployment.weight_format.family == "fp4" and family(device) < FACTS.value("nvfp4_cache_capability"):
            yield note("fp4_not_accelerated", source, gpu=device.id, have=have)
        return
    if family(device) < min(families):
        least = f"{min(families) // 10}.{min(families) % 10}"
        yield not_supported(
            "format_needs_capability", source, engine="tensorrt-llm", format=name, version=deployment.engine_version,
            gpu=device.id, have=have, need=least,
        )  # fmt: skip
    else:
        shown = tuple(f"{number // 10}.{number % 10}" for number in families)
        yield not_supported(
            "trtllm_format_not_on_family", source, format=name, gpu=device.id, have=have, families=shown
        )


def _checkpoint(deployment: Deployment) -> Iterator[Reason]:
    """Whether the weights are stored as the PyTorch backend reads them."""
    name, method = deployment.weight_format.name, quant_method(deployment)
    if deployment.repository is None and deployment.model.checkpoint is None:
        if name in _MODELOPT_NAMES:
            yield note("trtllm_quantize_first", model=deployment.model.id, quant=_MODELOPT_NAMES[name])
    elif method is not None and method not in FACTS.value("read_methods"):
        make = warning if method in _OWN_METHODS else unknown
        yield make(
            "trtllm_checkpoint_unread", FACTS.source("read_methods"), method=method,
            repository=deployment.repository or deployment.model.id,
        )  # fmt: skip


def _cache(deployment: Deployment) -> Iterator[Reason]:
    kv_format = deployment.kv_format
    if kv_format not in FACTS.value("kv_formats"):
        yield not_supported(
            "kv_format_not_supported", FACTS.source("kv_formats"), engine="tensorrt-llm", kv_format=kv_format,
            version=deployment.engine_version,
        )  # fmt: skip
    elif kv_format == "nvfp4":
        for device in used(deployment):
            if family(device) < FACTS.value("nvfp4_cache_capability"):
                yield not_supported(
                    "format_needs_capability", FACTS.source("nvfp4_cache_capability"), engine="tensorrt-llm",
                    format="nvfp4", version=deployment.engine_version, gpu=device.id,
                    have=device.compute_capability or "?", need="10.0",
                )  # fmt: skip


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats worth trying, `auto` first."""
    del deployment
    return ("auto", "fp8")


def _rest(deployment: Deployment) -> Iterator[Reason]:
    limit, names = deployment.model.max_context_tokens, known_options(deployment.engine_version)
    text = config_text(deployment)
    if text:
        yield note("trtllm_config_file", path=CONFIG_FILE, text=text.strip().replace("\n", "; "))
    if deployment.dp > 1:
        yield not_supported("trtllm_no_replicas", dp=deployment.dp)
    if deployment.context_tokens > limit:
        yield not_supported("context_beyond_model", context_tokens=deployment.context_tokens, limit_tokens=limit)
    for name in deployment.options:
        if f"--{name}" not in names:
            yield not_supported(
                "option_unknown", engine="tensorrt-llm", option=f"--{name}", version=deployment.engine_version
            )
