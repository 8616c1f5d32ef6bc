"""What mlx-lm refuses, whatever the memory: platform, model type, format, cache."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.mlx.cache import has_windows
from fitserve.engines.mlx.rules import PACKAGE, RELEASES, architectures, feature, feature_source
from fitserve.engines.option_lists import option_names
from fitserve.engines.releases import at_least
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning

_PLAIN_CACHE = ("auto", "f16", "bf16")
_MODELS = Source("source_code", "mlx-lm 0.20.1 to 0.32.2, mlx_lm/models and MODEL_REMAPPING", "2026-11-20")


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    found = [*_platform(deployment), *_architecture(deployment), *_format(deployment), *_cache(deployment)]
    return (*found, *_options(deployment))


def _platform(deployment: Deployment) -> Iterator[Reason]:
    devices, os_name = deployment.machine.devices, deployment.machine.host.os
    if not devices:
        yield not_supported("engine_needs_gpu", engine="mlx")
        return
    if deployment.device_count > 1 or deployment.ep > 1:
        yield not_supported("mlx_one_device", engine="mlx")
    device = devices[0]
    if os_name == "windows":
        yield not_supported("os_not_supported", engine="mlx", os=os_name)
    if device.vendor == "apple":
        return
    if device.vendor != "nvidia":
        yield not_supported("vendor_not_supported", engine="mlx", vendor=device.vendor)
        return
    source, floor = feature_source("cuda_capability_floor"), feature("cuda_capability_floor")
    if os_name == "macos":
        yield not_supported("vendor_not_supported", engine="mlx", vendor=device.vendor)
    if (device.capability_number or 0) < floor:
        yield not_supported(
            "capability_too_low", source, engine="mlx", version=deployment.engine_version, gpu=device.id,
            have=device.compute_capability or "?", need=f"{floor // 10}.{floor % 10}", last_version=None,
        )  # fmt: skip
    else:
        yield warning("mlx_cuda_backend", source, gpu=device.id)


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.model_type, deployment.engine_version
    row = architectures().get(name)
    if row is None:
        if RELEASES.is_newer(version):
            yield unknown("architecture_unknown_to_engine", _MODELS, engine="mlx", architecture=name)
        else:
            yield not_supported("mlx_model_type_missing", _MODELS, model_type=name, version=version)
        return
    # a release between two scanned ones that has the file may be said to lack it: the first scanned one is named
    if not at_least(version, row["in"]):
        yield not_supported(
            "architecture_too_new", _MODELS, engine="mlx", architecture=name, version=version, first_version=row["in"]
        )
    if row["gone_in"] and at_least(version, row["gone_in"]):
        yield not_supported(
            "architecture_removed", _MODELS, engine="mlx", architecture=name, version=version, gone_in=row["gone_in"]
        )
    if deployment.model.is_multimodal:
        yield note("mlx_text_part_only", _MODELS, engine="mlx")


def _format(deployment: Deployment) -> Iterator[Reason]:
    name, source = deployment.weight_format.name, feature_source("formats")
    first = feature("formats").get(name)
    if first is None:
        yield not_supported("format_not_supported", source, engine="mlx", format=name)
        return
    if not at_least(deployment.engine_version, first):
        yield not_supported(
            "format_too_new", source, engine="mlx", format=name, version=deployment.engine_version, first_version=first
        )
    if name == "gptq-4bit":
        yield warning("mlx_gptq_without_order", source)
    made = deployment.repository is not None or deployment.model.checkpoint is not None
    if deployment.weight_format.family == "mlx" and not made:
        bits = f"{deployment.weight_format.bits:g}"
        yield note("mlx_convert_first", command=f"mlx_lm.convert --hf-path {deployment.model.id} -q --q-bits {bits}")


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats that this deployment could use instead of `auto`, widest first."""
    known = "--kv-bits" in option_names(PACKAGE, RELEASES.nearest(deployment.engine_version))
    return ("auto", "int8", "int4") if known and not has_windows(deployment) else ("auto",)


def _cache(deployment: Deployment) -> Iterator[Reason]:
    kv_format, version = deployment.kv_format, deployment.engine_version
    if kv_format in _PLAIN_CACHE:
        return
    if kv_format not in {"int8", "int4"} or "--kv-bits" not in option_names(PACKAGE, RELEASES.nearest(version)):
        yield not_supported("kv_format_not_supported", engine="mlx", kv_format=kv_format, version=version)
    elif has_windows(deployment):
        yield not_supported("mlx_window_cache_not_quantized", feature_source("quantized_cache"), kv_format=kv_format)
    else:
        yield note("mlx_quantized_cache_no_batches", feature_source("quantized_cache"), kv_format=kv_format)


def _options(deployment: Deployment) -> Iterator[Reason]:
    version = deployment.engine_version
    names = option_names(PACKAGE, RELEASES.nearest(version))
    for option in deployment.options:
        if f"--{option}" not in names:
            yield not_supported("option_unknown", engine="mlx", option=f"--{option}", version=version)
    if "max-tokens" not in deployment.options:
        yield note(
            "mlx_answers_are_cut", feature_source("default_output_tokens"), tokens=feature("default_output_tokens")
        )
    limit = deployment.model.max_context_tokens
    if deployment.context_tokens > limit:
        yield note("context_beyond_training", context_tokens=deployment.context_tokens, limit_tokens=limit)
