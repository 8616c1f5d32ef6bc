"""What llama.cpp refuses, whatever the memory: format, architecture, cache types, devices."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.llama_cpp.rules import (
    PACKAGE,
    architectures,
    build_number,
    feature,
    feature_source,
    options_version,
)
from fitserve.engines.llama_cpp.settings import resolve
from fitserve.engines.option_lists import option_names
from fitserve.footprint.gguf_mix import is_gguf_file
from fitserve.footprint.gguf_recipes import is_stock, stock_mix
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.models.types import Attention

_BLOCK = 32  # values in a block of the quantized cache types
_PLAIN_KV = {"f32", "f16", "bf16"}
_NO_SERVER = {"gaudi2", "gaudi3"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    found = [
        *_format(deployment),
        *_architecture(deployment),
        *_devices(deployment),
        *_cache(deployment),
        *_options(deployment),
    ]
    return tuple(found)


def _format(deployment: Deployment) -> Iterator[Reason]:
    weight_format = deployment.weight_format
    source = Source("source_code", "llama.cpp v0.5.0 ggml/include/ggml.h type list", "2026-11-20")
    if weight_format.family != "gguf":
        yield not_supported("format_not_gguf", source, engine="llama.cpp", format=weight_format.name)
        return
    mix = weight_format.gguf_mix or ""
    if deployment.repository is None:
        yield note("gguf_file_needed", engine="llama.cpp")
    if not is_stock(mix) and stock_mix(mix) is None and not is_gguf_file(deployment.model):
        yield not_supported("format_of_a_fork", source, engine="llama.cpp", format=weight_format.name)


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.gguf_architecture, deployment.engine_version
    source = Source(
        "source_code", "llama.cpp src/llama-arch.cpp and conversion/, history to b4747 and v0.5.0", "2026-11-20"
    )
    if name is None:
        yield not_supported("no_gguf_converter", source, engine="llama.cpp", architecture=deployment.model.architecture)
        return
    row = architectures().get(name)
    if row is None:
        yield unknown("architecture_unknown_to_engine", source, engine="llama.cpp", architecture=name)
        return
    build, first = build_number(version), row["first_build"]
    if first is not None and build < build_number(first):
        yield not_supported(
            "architecture_too_new", source, engine="llama.cpp", architecture=name, version=version, first_version=first
        )
    elif first is None and build < build_number("v0.5.0"):
        # present in v0.5.0, not in b4747: the build between that brought it is not dated
        known = build <= build_number("b4747")
        if known:
            yield not_supported(
                "architecture_too_new",
                source,
                engine="llama.cpp",
                architecture=name,
                version=version,
                first_version="v0.5.0",
            )
        else:
            yield warning("architecture_build_undated", source, engine="llama.cpp", architecture=name, version=version)


def _devices(deployment: Deployment) -> Iterator[Reason]:
    devices = deployment.machine.devices[: deployment.device_count]
    if deployment.tp > 1 or deployment.ep > 1 or deployment.dp > 1:
        yield not_supported("splits_by_layer_only", engine="llama.cpp")
    for device in {device.id: device for device in devices}.values():
        if device.id in _NO_SERVER:
            yield not_supported("vendor_not_supported", engine="llama.cpp", vendor=device.vendor)
        elif device.vendor == "nvidia" and (device.capability_number or 0) < feature("cuda_capability_floor"):
            yield not_supported(
                "capability_too_low",
                feature_source("cuda_capability_floor"),
                engine="llama.cpp",
                version=deployment.engine_version,
                gpu=device.id,
                have=device.compute_capability or "?",
                need="5.0",
                last_version=None,
            )
    if len(devices) > len(deployment.model.layers) + 1:
        yield not_supported("more_stages_than_layers", pp=len(devices), layers=len(deployment.model.layers))


def _cache(deployment: Deployment) -> Iterator[Reason]:
    settings = resolve(deployment)
    for kv_type in dict.fromkeys((settings.key_format, settings.value_format)):
        if kv_type not in feature("kv_types"):
            yield not_supported(
                "kv_format_not_supported", engine="llama.cpp", kv_format=kv_type, version=deployment.engine_version
            )
            return
    quantized = {settings.key_format, settings.value_format} - _PLAIN_KV
    if not quantized:
        return
    if settings.value_format not in _PLAIN_KV and not settings.flash_attention:
        yield not_supported(
            "quantized_value_needs_flash_attention", engine="llama.cpp", kv_format=settings.value_format
        )
    for layer in deployment.model.layers:
        for mixer in layer.mixers:
            if isinstance(mixer, Attention) and (mixer.key_dim % _BLOCK or mixer.value_dim % _BLOCK):
                yield not_supported(
                    "head_size_not_in_blocks",
                    engine="llama.cpp",
                    kv_format=sorted(quantized)[0],
                    head_dim=mixer.key_dim,
                )
                return
    nvidia = any(device.vendor == "nvidia" for device in deployment.machine.devices)
    unusual = settings.key_format != settings.value_format or settings.key_format not in feature("cuda_flash_kv_pairs")
    if nvidia and unusual:
        yield warning(
            "kv_pair_without_cuda_kernel",
            feature_source("cuda_flash_kv_pairs"),
            key=settings.key_format,
            value=settings.value_format,
        )


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats that this model could use instead of `auto`, widest first."""
    dims = [
        d
        for layer in deployment.model.layers
        for m in layer.mixers
        if isinstance(m, Attention)
        for d in (m.key_dim, m.value_dim)
    ]
    return ("auto",) if any(dim % _BLOCK for dim in dims) else ("auto", "q8_0", "q4_0")


def _options(deployment: Deployment) -> Iterator[Reason]:
    names = option_names(PACKAGE, options_version(deployment.engine_version))
    for option in deployment.options:
        if f"--{option}" not in names and f"-{option}" not in names:
            yield not_supported(
                "option_unknown", engine="llama.cpp", option=f"--{option}", version=deployment.engine_version
            )
    if deployment.context_tokens > deployment.model.max_context_tokens:
        yield note(
            "context_beyond_training",
            context_tokens=deployment.context_tokens,
            limit_tokens=deployment.model.max_context_tokens,
        )
