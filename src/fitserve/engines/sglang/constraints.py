"""What SGLang refuses, whatever the memory: platform, architecture, format, cache type, shapes, length, options."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.releases import at_least
from fitserve.engines.sglang.rules import (
    FACTS,
    architecture_row,
    capability_of,
    first_release_of,
    known_options,
    methods_of,
    option,
)
from fitserve.engines.shapes import shape_reasons
from fitserve.footprint.gguf_mix import is_gguf_file
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.hardware.types import Accelerator

_SCAN = Source("source_code", "sglang 0.4.0 to 0.5.23, srt/models, EntryClass", "2026-11-20")
_METHODS = Source("source_code", "sglang 0.4.0 to 0.5.23, srt/layers/quantization get_min_capability", "2026-11-20")
_PLAIN_KV = {"auto", "bf16", "bfloat16", "f16"}
_KV_NAMES = {"fp8": "fp8_e4m3"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason at once, warnings and notes among them."""
    found = [*_platform(deployment), *_architecture(deployment), *_format(deployment), *_cache(deployment)]
    found += [*shape_reasons(deployment), *_length(deployment), *_options(deployment)]
    return tuple(found)


def used(deployment: Deployment) -> list[Accelerator]:
    """Kinds of devices that the ranks run on."""
    return list({device.id: device for device in deployment.machine.devices[: deployment.device_count]}.values())


def _platform(deployment: Deployment) -> Iterator[Reason]:
    devices, os_name, version = used(deployment), deployment.machine.host.os, deployment.engine_version
    if not devices:
        yield not_supported("engine_needs_gpu", engine="sglang")
        return
    others = sorted({device.vendor for device in devices} - {"nvidia", "amd"})
    if others == ["apple"] and at_least(version, FACTS.value("metal_from")):
        yield unknown("sglang_metal_experimental", FACTS.source("metal_from"), version=FACTS.value("metal_from"))
        return
    if others:
        yield not_supported("vendor_not_supported", engine="sglang", vendor=others[0])
        return
    if os_name == "windows":
        yield note("runs_in_docker_desktop", engine="sglang")
    elif os_name == "macos":
        yield not_supported("os_not_supported", engine="sglang", os=os_name)
    if len(devices) > 1:
        yield warning("mixed_devices_as_smallest", engine="sglang")
    for device in devices:
        yield from _device(deployment, device)


def _device(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    if device.vendor == "amd":
        if device.gfx not in FACTS.value("rocm_families"):
            source = FACTS.source("rocm_families")
            yield not_supported("sglang_rocm_family_missing", source, gpu=device.id, gfx=device.gfx or "?")
        return
    floor = FACTS.value("cuda_capability_floor")
    if (device.capability_number or 0) < floor:
        yield not_supported(
            "capability_too_low", FACTS.source("cuda_capability_floor"), engine="sglang", version=deployment.engine_version,
            gpu=device.id, have=device.compute_capability or "?", need="7.5", last_version=None,
        )  # fmt: skip
    elif needs_float16(device) and deployment.model.dtype == "bf16":
        yield note("runs_in_float16", FACTS.source("bfloat16_capability"), gpu=device.id)


def needs_float16(device: Accelerator) -> bool:
    """Whether a device cannot compute in bfloat16."""
    return device.vendor == "nvidia" and (device.capability_number or 0) < FACTS.value("bfloat16_capability")


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.architecture, deployment.engine_version
    row = architecture_row(name)
    if row is None and is_gguf_file(deployment.model):
        return
    if row is None:
        yield unknown("architecture_unknown_to_engine", _SCAN, engine="sglang", architecture=name)
        yield note("sglang_transformers_backend", architecture=name)
        return
    if not at_least(version, row["in"]):
        yield not_supported(
            "architecture_too_new", _SCAN, engine="sglang", architecture=name, version=version, first_version=row["in"]
        )
    if row["gone_in"] and at_least(version, row["gone_in"]):
        yield not_supported(
            "architecture_removed", _SCAN, engine="sglang", architecture=name, version=version, gone_in=row["gone_in"]
        )


def _format(deployment: Deployment) -> Iterator[Reason]:
    weight_format, version = deployment.weight_format, deployment.engine_version
    if not weight_format.is_quantized:
        return
    first = first_release_of(weight_format.name)
    if first is None:
        yield not_supported("format_not_supported", _METHODS, engine="sglang", format=weight_format.name)
        return
    if not methods_of(weight_format.name, version):
        yield not_supported(
            "format_too_new", _METHODS, engine="sglang", format=weight_format.name, version=version, gone_in=None,
            first_version=first, plugin=None,
        )  # fmt: skip
        return
    if weight_format.family == "gguf":
        yield warning("sglang_gguf_one_file", format=weight_format.name)
    if weight_format.family == "bnb" and any(layer.experts for layer in deployment.model.layers):
        yield warning("sglang_bnb_experts", format=weight_format.name)
    for device in used(deployment):
        yield from _format_on(deployment, device)


def _format_on(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    weight_format, version = deployment.weight_format, deployment.engine_version
    if device.vendor == "amd" and weight_format.name not in FACTS.value("rocm_formats"):
        yield unknown(
            "sglang_rocm_format_unread", FACTS.source("rocm_formats"), format=weight_format.name, gpu=device.id
        )
    if device.vendor != "nvidia":
        return
    have, need = device.capability_number or 0, capability_of(weight_format.name, version) or 0
    shown = device.compute_capability or "?"
    if have < need:
        yield not_supported(
            "format_needs_capability", _METHODS, engine="sglang", format=weight_format.name, version=version,
            gpu=device.id, have=shown, need=f"{need // 10}.{need % 10}",
        )  # fmt: skip
    elif weight_format.family == "fp8" and have < FACTS.value("fp8_native_capability"):
        yield warning("fp8_not_accelerated", FACTS.source("fp8_native_capability"), gpu=device.id, have=shown)
    elif weight_format.family == "fp4" and have < FACTS.value("fp4_native_capability"):
        yield note("fp4_not_accelerated", FACTS.source("fp4_native_capability"), gpu=device.id, have=shown)


def kv_name(deployment: Deployment) -> str | None:
    """The value of --kv-cache-dtype; None when the option is left out."""
    asked = deployment.kv_format
    return None if asked in _PLAIN_KV else _KV_NAMES.get(asked, asked)


def _cache(deployment: Deployment) -> Iterator[Reason]:
    name, version = kv_name(deployment), deployment.engine_version
    if name is None:
        return
    if name not in ((option(version, "--kv-cache-dtype") or {}).get("choices") or ()):
        yield not_supported("kv_format_not_supported", engine="sglang", kv_format=deployment.kv_format, version=version)
        return
    for device in used(deployment):
        low = device.vendor == "nvidia" and (device.capability_number or 0) < FACTS.value("fp8_native_capability")
        if name == "fp8_e4m3" and low:
            source = FACTS.source("fp8_native_capability")
            yield not_supported("kv_fp8_needs_capability", source, gpu=device.id, have=device.compute_capability or "?")
            return


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats worth trying, `auto` first."""
    devices = used(deployment)
    if not devices:
        return ("auto",)
    native = all(
        d.vendor == "amd" or (d.capability_number or 0) >= FACTS.value("fp8_native_capability") for d in devices
    )
    return ("auto", "fp8" if native else "fp8_e5m2")


def _length(deployment: Deployment) -> Iterator[Reason]:
    limit = deployment.model.max_context_tokens
    if deployment.context_tokens > limit:
        yield not_supported("context_beyond_model", context_tokens=deployment.context_tokens, limit_tokens=limit)


def _options(deployment: Deployment) -> Iterator[Reason]:
    names = known_options(deployment.engine_version)
    for name in deployment.options:
        if f"--{name}" not in names:
            yield not_supported(
                "option_unknown", engine="sglang", option=f"--{name}", version=deployment.engine_version
            )
