"""What TGI refuses, whatever the memory, and that it is no longer developed."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.option_lists import option_names
from fitserve.engines.releases import at_least
from fitserve.engines.tgi.rules import PACKAGE, feature, feature_source, options_version
from fitserve.foundation.reasons import Reason, not_supported, note, unknown, warning
from fitserve.hardware.types import Accelerator
from fitserve.models.catalog.lookup import rows

_HELP = {"help", "version", "env"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason; the first says that TGI is archived and what replaces it."""
    found = [_archived(), *_platform(deployment), *_architecture(deployment), *_format(deployment)]
    return (*found, *_cache(deployment), *_shapes(deployment), *_options(deployment))


def _archived() -> Reason:
    row = feature("archived")
    return warning(
        "engine_archived", feature_source("archived"), engine="tgi", maintenance_since=row["maintenance_since"],
        archived_since=row["archived_since"], last_release=row["last_release"], instead=tuple(row["instead"]),
    )  # fmt: skip


def _used(deployment: Deployment) -> tuple[Accelerator, ...]:
    return deployment.machine.devices[: deployment.device_count]


def _platform(deployment: Deployment) -> Iterator[Reason]:
    devices, os_name = _used(deployment), deployment.machine.host.os
    if not devices:
        yield not_supported("engine_needs_gpu", engine="tgi")
        return
    if os_name == "windows":
        yield note("runs_in_docker_desktop", engine="tgi")
    if os_name == "macos":
        yield not_supported("os_not_supported", engine="tgi", os=os_name)
    others = sorted({device.vendor for device in devices} - {"nvidia", "amd"})
    if others:
        yield not_supported("vendor_not_supported", engine="tgi", vendor=others[0])
        return
    if len({device.id for device in devices}) > 1:
        yield warning("mixed_devices_as_smallest", engine="tgi")
    for device in {device.id: device for device in devices}.values():
        yield from _device(deployment, device)


def _device(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    if device.vendor == "amd":
        if device.gfx not in feature("rocm_architectures"):
            yield warning(
                "tgi_rocm_unlisted", feature_source("rocm_architectures"), gpu=device.id, gfx=device.gfx or "?"
            )
        return
    have, floor = device.capability_number or 0, feature("cuda_capability_floor")
    if have < floor:
        yield not_supported(
            "capability_too_low", feature_source("cuda_capability_floor"), engine="tgi", version=deployment.engine_version,
            gpu=device.id, have=device.compute_capability or "?", need=f"{floor // 10}.{floor % 10}", last_version=None,
        )  # fmt: skip
    elif have > feature("newest_known_capability"):
        yield warning("tgi_gpu_newer", feature_source("newest_known_capability"), gpu=device.id)


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, source = deployment.model.architecture, feature_source("optimized_architectures")
    if name in feature("optimized_architectures"):
        return
    row = rows().get(deployment.model.id) or rows().get(deployment.model.base_id or "")
    released = (row or {}).get("release_date") or "9999"
    if released > feature("archived")["last_release_month"]:
        yield unknown("architecture_unknown_to_engine", source, engine="tgi", architecture=name)
    else:
        yield warning("tgi_best_effort", source, architecture=name)


def _format(deployment: Deployment) -> Iterator[Reason]:
    name, source = deployment.weight_format.name, feature_source("formats")
    if name not in feature("formats"):
        yield not_supported("format_not_supported", source, engine="tgi", format=name)
        return
    for device in {device.id: device for device in _used(deployment)}.values():
        have = device.capability_number or 0
        if device.vendor == "nvidia" and name == "fp8" and have < feature("fp8_native_capability"):
            yield warning("fp8_not_accelerated", source, gpu=device.id, have=device.compute_capability or "?")


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats that this deployment could use instead of `auto`."""
    devices = _used(deployment)
    native = devices and all((d.capability_number or 0) >= feature("fp8_native_capability") for d in devices)
    return ("auto", "fp8") if native else ("auto",)


def _cache(deployment: Deployment) -> Iterator[Reason]:
    kv_format = deployment.kv_format
    if kv_format in {"auto", "f16", "bf16"}:
        return
    nvidia = all(device.vendor == "nvidia" for device in _used(deployment))
    if kv_format not in feature("kv_formats") or not nvidia:
        yield not_supported(
            "kv_format_not_supported", feature_source("kv_formats"), engine="tgi", kv_format=kv_format,
            version=deployment.engine_version,
        )  # fmt: skip


def _shapes(deployment: Deployment) -> Iterator[Reason]:
    if deployment.pp > 1 or deployment.ep > 1 or deployment.dp > 1:
        yield not_supported("tgi_tensor_parallel_only", engine="tgi")
    for layer in deployment.model.layers:
        for mixer in layer.mixers:
            heads = getattr(mixer, "query_heads", None)
            if heads is not None and heads % deployment.tp:
                yield not_supported("heads_not_divisible", heads=heads, tp=deployment.tp)
                return


def _options(deployment: Deployment) -> Iterator[Reason]:
    version = deployment.engine_version
    listed = options_version(version)
    names = option_names(PACKAGE, listed)
    for option in deployment.options:
        if f"--{option}" not in names or option in _HELP:
            newer = at_least(version, listed) and version != listed
            made = unknown if newer and option not in _HELP else not_supported
            yield made("option_unknown", engine="tgi", option=f"--{option}", version=listed)
    limit = deployment.model.max_context_tokens
    if deployment.context_tokens > limit:
        yield not_supported("context_beyond_model", context_tokens=deployment.context_tokens, limit_tokens=limit)
