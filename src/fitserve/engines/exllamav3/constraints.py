"""What ExLlamaV3 and TabbyAPI refuse, whatever the memory: devices, format, architecture, cache widths, keys."""

from collections.abc import Iterator

from fitserve.engines.config_file import unknown_keys
from fitserve.engines.contract import Deployment
from fitserve.engines.exllamav3.rules import (
    PACKAGE,
    RELEASES,
    TITLE,
    architectures,
    feature,
    feature_source,
    options_version,
)
from fitserve.engines.exllamav3.settings import cache_bits, resolve
from fitserve.engines.releases import at_least
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.hardware.types import Accelerator

_LIST = Source("source_code", "exllamav3 architecture/architectures.py, wheels 0.0.1 to 1.6.5", "2026-11-20")
_PLAIN = {"bf16", "f16"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    return (
        *_devices(deployment),
        *_format(deployment),
        *_architecture(deployment),
        *_spreading(deployment),
        *_cache_and_keys(deployment),
        note("runs_in_tabbyapi", feature_source("apis"), engine=TITLE),
    )


def _devices(deployment: Deployment) -> Iterator[Reason]:
    devices = deployment.machine.devices[: deployment.device_count]
    if not devices:
        yield not_supported("engine_needs_gpu", engine=TITLE)
        return
    if deployment.machine.host.os == "macos" and devices[0].vendor != "apple":
        yield not_supported("os_not_supported", engine=TITLE, os="macos")
    for device in {device.id: device for device in devices}.values():
        if device.vendor == "nvidia":
            yield from _nvidia(deployment, device)
        elif device.vendor == "amd":
            yield from _amd(deployment, device)
        else:
            yield not_supported("vendor_not_supported", engine=TITLE, vendor=device.vendor)


def _nvidia(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    version, have = deployment.engine_version, device.capability_number or 0
    need = feature("cuda_capability_floor", version)
    source = feature_source("cuda_capability_floor")
    if have < need:
        yield not_supported(
            "capability_too_low",
            source,
            engine=TITLE,
            version=version,
            gpu=device.id,
            have=device.compute_capability or "?",
            need=f"{need // 10}.{need % 10}",
            last_version=None,
        )
    elif have < feature("prebuilt_capability_floor"):
        yield warning(
            "extension_built_from_source",
            feature_source("prebuilt_capability_floor"),
            engine=TITLE,
            gpu=device.id,
            have=device.compute_capability or "?",
        )


def _amd(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    version, gfx = deployment.engine_version, device.gfx or "?"
    source = feature_source("rocm_families")
    if not at_least(version, feature("rocm_from")):
        yield not_supported("vendor_not_supported", source, engine=f"{TITLE} {version}", vendor="amd")
    elif not gfx.startswith(tuple(feature("rocm_families"))):
        yield not_supported("rdna_only", source, engine=TITLE, gpu=device.id, gfx=gfx)
    else:
        if deployment.tp > 1 or deployment.offload_layers:
            yield warning("not_validated_on_rocm", source, engine=TITLE)
        if deployment.machine.host.os == "windows":
            yield warning("rocm_built_from_source_on_windows", source, engine=TITLE)


def _format(deployment: Deployment) -> Iterator[Reason]:
    weight_format = deployment.weight_format
    limits = feature("bits")
    if weight_format.family != "exl3" and weight_format.name not in _PLAIN:
        yield not_supported("format_not_supported", engine=TITLE, format=weight_format.name)
    elif weight_format.family == "exl3" and not (
        weight_format.bits is None or limits["low"] <= weight_format.bits <= limits["high"]
    ):
        yield not_supported(
            "bits_out_of_range",
            feature_source("bits"),
            engine=TITLE,
            format=weight_format.name,
            low=limits["low"],
            high=limits["high"],
        )


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.architecture, deployment.engine_version
    row = architectures().get(name)
    if row is None and RELEASES.is_newer(version):
        yield unknown("architecture_unknown_to_engine", _LIST, engine=TITLE, architecture=name)
    elif row is None:
        yield not_supported("architecture_refused", _LIST, engine=TITLE, version=version, architecture=name)
    elif not at_least(version, row["in"]):
        yield not_supported(
            "architecture_too_new", _LIST, engine=TITLE, architecture=name, version=version, first_version=row["in"]
        )
    elif row["gone_in"] is not None and at_least(version, row["gone_in"]):
        yield not_supported(
            "architecture_removed", _LIST, engine=TITLE, architecture=name, version=version, gone_in=row["gone_in"]
        )
    if deployment.model.is_multimodal:
        yield note("vision_not_loaded", engine=TITLE)
    limit = deployment.model.max_context_tokens
    if deployment.context_tokens > limit:
        yield note("context_beyond_training", context_tokens=deployment.context_tokens, limit_tokens=limit)


def _spreading(deployment: Deployment) -> Iterator[Reason]:
    version, row = deployment.engine_version, architectures().get(deployment.model.architecture, {})
    if deployment.ep > 1 or deployment.dp > 1 or (deployment.tp > 1 and deployment.pp > 1):
        yield not_supported("spreads_one_way_only", engine=TITLE)
    if deployment.tp > 1:
        since = row.get("tp_from")
        if since is None or not at_least(version, since):
            yield not_supported(
                "no_tensor_parallelism",
                _LIST,
                engine=TITLE,
                version=version,
                architecture=deployment.model.architecture,
            )
        if len(set(deployment.machine.devices[: deployment.tp])) > 1:
            yield note("shares_counted_evenly", engine=TITLE)
    if deployment.pp > len(deployment.model.layers):
        yield not_supported("more_stages_than_layers", pp=deployment.pp, layers=len(deployment.model.layers))
    if deployment.offload_layers:
        has_experts = any(layer.experts for layer in deployment.model.layers)
        source = feature_source("experts_on_cpu_from")
        if not has_experts or deployment.tp > 1 or not at_least(version, feature("experts_on_cpu_from")):
            yield not_supported("only_experts_on_cpu", source, engine=TITLE, version=feature("experts_on_cpu_from"))


def _cache_and_keys(deployment: Deployment) -> Iterator[Reason]:
    version = deployment.engine_version
    for option in unknown_keys(PACKAGE, options_version(version), deployment.options):
        yield not_supported("option_unknown", engine="TabbyAPI", option=option, version=version)
    if cache_bits(deployment.kv_format) is None:
        yield not_supported(
            "kv_format_not_supported",
            feature_source("cache_bits"),
            engine=TITLE,
            kv_format=deployment.kv_format,
            version=version,
        )
    cache = resolve(deployment).cache_tokens
    if cache is not None and cache < deployment.context_tokens:
        yield warning("cache_shorter_than_context", cache_tokens=cache, context_tokens=deployment.context_tokens)


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats worth trying, `auto` first; TabbyAPI takes any pair of 2 to 8 bits."""
    del deployment
    return ("auto", "8,8", "6,6", "4,4")
