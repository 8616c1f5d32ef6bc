"""What Transformers refuses, whatever the memory: devices, architecture, format, options."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.option_lists import option_names
from fitserve.engines.releases import at_least
from fitserve.engines.transformers.rules import PACKAGE, RELEASES, architectures, feature, feature_source
from fitserve.engines.transformers.settings import runs_script, used_devices
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.hardware.types import Accelerator

_MAPPINGS = Source("source_code", "transformers 4.28.0 to 5.23.0, models/auto/modeling_auto.py", "2026-11-20")
_REMOTE = "trust-remote-code"
_FALSE = {"false", "no", "off", "0"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    found = [*_devices(deployment), *_architecture(deployment), *_format(deployment)]
    return (*found, *_options(deployment), *_script(deployment))


def _devices(deployment: Deployment) -> Iterator[Reason]:
    if deployment.tp > 1 or deployment.ep > 1 or deployment.dp > 1:
        yield not_supported("device_map_only", engine="transformers")
    used = used_devices(deployment)
    vendors = {device.vendor for device in used}
    others = sorted(vendors - {"nvidia", "amd", "apple", "intel"})
    if others:
        yield not_supported("vendor_not_supported", engine="transformers", vendor=others[0])
    if "amd" in vendors and deployment.machine.host.os == "windows":
        yield warning("torch_rocm_on_windows")
    for device in {device.id: device for device in used}.values():
        yield from _device(deployment, device)


def _device(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    if device.vendor != "nvidia":
        return
    have, floor = device.capability_number or 0, feature("cuda_capability_floor")
    if have < floor:
        yield not_supported(
            "capability_too_low", feature_source("cuda_capability_floor"), engine="transformers",
            version=deployment.engine_version, gpu=device.id, have=device.compute_capability or "?",
            need=f"{floor // 10}.{floor % 10}", last_version=None,
        )  # fmt: skip
    elif have < feature("bfloat16_capability") and deployment.model.dtype == "bf16":
        yield note("runs_in_float16", feature_source("bfloat16_capability"), gpu=device.id)


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.architecture, deployment.engine_version
    row = architectures().get(name)
    if row is None:
        if deployment.options.get(_REMOTE, "false").lower() in _FALSE:
            yield unknown("hf_needs_remote_code", _MAPPINGS, architecture=name)
        else:
            yield warning("hf_runs_remote_code", _MAPPINGS, architecture=name)
        return
    if not at_least(version, row["in"]):
        yield not_supported(
            "architecture_too_new", _MAPPINGS, engine="transformers", architecture=name, version=version,
            first_version=row["in"],
        )  # fmt: skip
    if row["gone_in"] and at_least(version, row["gone_in"]):
        yield not_supported(
            "architecture_removed", _MAPPINGS, engine="transformers", architecture=name, version=version,
            gone_in=row["gone_in"],
        )  # fmt: skip


def _format(deployment: Deployment) -> Iterator[Reason]:
    name, source = deployment.weight_format.name, feature_source("formats")
    packages = feature("formats").get(name)
    if packages is None:
        yield not_supported("format_not_supported", source, engine="transformers", format=name)
        return
    first = feature("format_first_release").get(name)
    if first and not at_least(deployment.engine_version, first):
        yield not_supported(
            "format_too_new", feature_source("format_first_release"), engine="transformers", format=name,
            version=deployment.engine_version, first_version=first,
        )  # fmt: skip
    if packages:
        yield note("hf_needs_packages", source, format=name, command=f"pip install {' '.join(packages)}")
    if deployment.weight_format.family == "bnb":
        yield from _bitsandbytes(deployment)


def _bitsandbytes(deployment: Deployment) -> Iterator[Reason]:
    name, source = deployment.weight_format.name, feature_source("format_capability")
    if deployment.offload_layers:
        yield not_supported("bnb_not_in_ram", feature_source("quantizing_share"), format=name)
    floor = feature("format_capability")[name]
    for device in {device.id: device for device in used_devices(deployment)}.values():
        if device.vendor not in feature("bnb_vendors"):
            yield not_supported("vendor_not_supported", source, engine="transformers", vendor=device.vendor)
        elif device.vendor == "nvidia" and (device.capability_number or 0) < floor:
            yield not_supported(
                "format_needs_capability", source, engine="transformers", format=name, version=deployment.engine_version,
                gpu=device.id, have=device.compute_capability or "?", need=f"{floor // 10}.{floor % 10}",
            )  # fmt: skip


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Only the model's own type: the server has no option for a quantized cache."""
    del deployment
    return ("auto",)


def _options(deployment: Deployment) -> Iterator[Reason]:
    version = deployment.engine_version
    names = option_names(PACKAGE, RELEASES.nearest(version))
    for option in deployment.options:
        if f"--{option}" not in names:
            yield not_supported("option_unknown", engine="transformers", option=f"--{option}", version=version)
        elif runs_script(deployment) and option not in {"port", "host", "dtype", "attn-implementation", _REMOTE}:
            yield warning("script_ignores_option", option=f"--{option}")
    if deployment.kv_format not in {"auto", "bf16", "f16"}:
        yield not_supported(
            "kv_format_not_supported", engine="transformers", kv_format=deployment.kv_format, version=version
        )
    limit = deployment.model.max_context_tokens
    if deployment.context_tokens > limit:
        yield note("context_beyond_training", context_tokens=deployment.context_tokens, limit_tokens=limit)


def _script(deployment: Deployment) -> Iterator[Reason]:
    if deployment.offload_layers:
        yield note("script_for_max_memory")
        yield note(
            "offloaded_layers_cross_the_bus", layers=min(deployment.offload_layers, len(deployment.model.layers))
        )
    elif runs_script(deployment):
        yield note("script_without_server", version=deployment.engine_version, first_version=RELEASES.versions[0])
