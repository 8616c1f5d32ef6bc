"""What ExLlamaV2 and its TabbyAPI refuse, whatever the memory: devices, format, architecture, cache modes, keys."""

from collections.abc import Iterator

from fitserve.engines.config_file import unknown_keys
from fitserve.engines.contract import Deployment
from fitserve.engines.exllamav2.rules import PACKAGE, TITLE, architectures, feature, feature_source, options_version
from fitserve.engines.exllamav2.settings import cache_mode, is_paged, resolve
from fitserve.engines.releases import at_least
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.models.types import Attention

_LIST = Source("source_code", "exllamav2 architecture.py, wheels 0.0.4 to 0.3.2", "2026-11-20")
_LOADED = {"bf16", "f16", "gptq-4bit"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    return (
        *_devices(deployment),
        *_format(deployment),
        *_architecture(deployment),
        *_spreading(deployment),
        *_cache_and_keys(deployment),
        warning(
            "exl2_needs_older_tabbyapi",
            feature_source("tabbyapi_commit"),
            engine=TITLE,
            commit=feature("tabbyapi_commit")[:12],
        ),
        note("runs_in_tabbyapi", feature_source("tabbyapi_commit"), engine=TITLE),
    )


def _devices(deployment: Deployment) -> Iterator[Reason]:
    devices = deployment.machine.devices[: deployment.device_count]
    os = deployment.machine.host.os
    if not devices:
        yield not_supported("engine_needs_gpu", engine=TITLE)
        return
    if os == "macos" and devices[0].vendor != "apple":
        yield not_supported("os_not_supported", engine=TITLE, os=os)
    floor, source = feature("cuda_capability_floor"), feature_source("cuda_capability_floor")
    for device in {device.id: device for device in devices}.values():
        if device.vendor not in {"nvidia", "amd"}:
            yield not_supported("vendor_not_supported", engine=TITLE, vendor=device.vendor)
        elif device.vendor == "amd" and os != feature("rocm_os"):
            yield not_supported("os_not_supported", feature_source("rocm_os"), engine=f"{TITLE} (ROCm)", os=os)
        elif device.vendor == "nvidia" and (device.capability_number or 0) < floor:
            yield not_supported(
                "capability_too_low",
                source,
                engine=TITLE,
                version=deployment.engine_version,
                gpu=device.id,
                have=device.compute_capability or "?",
                need=f"{floor // 10}.{floor % 10}",
                last_version=None,
            )
    if not is_paged(deployment):
        yield warning("one_request_at_a_time", feature_source("paged_capability_floor"), engine=TITLE)


def _format(deployment: Deployment) -> Iterator[Reason]:
    weight_format, limits = deployment.weight_format, feature("bits")
    if weight_format.family != "exl2" and weight_format.name not in _LOADED:
        yield not_supported("format_not_supported", engine=TITLE, format=weight_format.name)
    elif weight_format.family == "exl2" and not limits["low"] <= (weight_format.bits or 0) <= limits["high"]:
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
    if any(not isinstance(mixer, Attention) for layer in deployment.model.layers for mixer in layer.mixers):
        yield not_supported("attention_only", _LIST, engine=TITLE, architecture=name)
    elif row is None:
        yield unknown("architecture_unknown_to_engine", _LIST, engine=TITLE, architecture=name)
    elif not at_least(version, row["in"]):
        yield not_supported(
            "architecture_too_new", _LIST, engine=TITLE, architecture=name, version=version, first_version=row["in"]
        )
    if deployment.model.is_multimodal:
        yield note("vision_not_loaded", engine=TITLE)
    limit = deployment.model.max_context_tokens
    if deployment.context_tokens > limit:
        yield note("context_beyond_training", context_tokens=deployment.context_tokens, limit_tokens=limit)


def _spreading(deployment: Deployment) -> Iterator[Reason]:
    row = architectures().get(deployment.model.architecture, {})
    if deployment.ep > 1 or deployment.dp > 1 or (deployment.tp > 1 and deployment.pp > 1):
        yield not_supported("spreads_one_way_only", engine=TITLE)
    if deployment.tp > 1:
        since = row.get("tp_from")
        if since is None or not at_least(deployment.engine_version, since):
            yield not_supported(
                "no_tensor_parallelism",
                _LIST,
                engine=TITLE,
                version=deployment.engine_version,
                architecture=deployment.model.architecture,
            )
        if len(set(deployment.machine.devices[: deployment.tp])) > 1:
            yield note("shares_counted_evenly", engine=TITLE)
    if deployment.pp > len(deployment.model.layers):
        yield not_supported("more_stages_than_layers", pp=deployment.pp, layers=len(deployment.model.layers))
    if deployment.offload_layers:
        yield not_supported("nothing_in_ram", engine=TITLE)


def _cache_and_keys(deployment: Deployment) -> Iterator[Reason]:
    version = deployment.engine_version
    for option in unknown_keys(PACKAGE, options_version(version), deployment.options):
        yield not_supported("option_unknown", engine="TabbyAPI", option=option, version=version)
    if cache_mode(deployment.kv_format) is None:
        yield not_supported(
            "kv_format_not_supported",
            feature_source("cache_modes"),
            engine=TITLE,
            kv_format=deployment.kv_format,
            version=version,
        )
    cache = resolve(deployment).cache_tokens
    if cache is not None and cache < deployment.context_tokens:
        yield warning("cache_shorter_than_context", cache_tokens=cache, context_tokens=deployment.context_tokens)


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats worth trying, `auto` first."""
    del deployment
    return ("auto", "q8", "q6", "q4")
