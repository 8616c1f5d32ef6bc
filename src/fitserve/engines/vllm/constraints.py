"""What vLLM refuses, whatever the memory: platform, architecture, format, types, divisibility, length."""

from collections.abc import Iterator, Mapping
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.engines.option_lists import option_names, option_row
from fitserve.engines.vllm.rules import PACKAGE, at_least, facts, feature, feature_source, options_version
from fitserve.footprint.gguf_mix import is_gguf_file
from fitserve.foundation.facts import load_json
from fitserve.foundation.reasons import Reason, Source, not_supported, note, unknown, warning
from fitserve.foundation.versions import parse_version, rows_for_version
from fitserve.hardware.types import Accelerator
from fitserve.models.formats import WeightFormat
from fitserve.models.types import Attention, LanguageModel

_GROUPED = {"awq-4bit", "gptq-4bit", "gptq-8bit", "w4a16", "autoround-int4"}


def blockers(deployment: Deployment) -> tuple[Reason, ...]:
    """Every reason, blockers first; warnings and notes about what will be slower or different are among them."""
    found = [*_platform(deployment), *_architecture(deployment), *_format(deployment), *_types(deployment)]
    found += [*_shapes(deployment), *_length(deployment), *_options(deployment)]
    return tuple(found)


def _platform(deployment: Deployment) -> Iterator[Reason]:
    devices, os_name = deployment.machine.devices, deployment.machine.host.os
    if not devices:
        yield not_supported("engine_needs_gpu", engine="vllm")
        return
    if os_name == "windows":
        yield note("runs_in_docker_desktop", engine="vllm")
    kinds = {device.vendor for device in devices[: deployment.device_count]}
    if kinds - {"nvidia", "amd"}:
        yield not_supported("vendor_not_supported", engine="vllm", vendor=sorted(kinds - {"nvidia", "amd"})[0])
        return
    if os_name == "macos":
        yield not_supported("os_not_supported", engine="vllm", os=os_name)
    if len({device.id for device in devices[: deployment.device_count]}) > 1:
        yield warning("mixed_devices_as_smallest", engine="vllm")
    for device in _distinct(devices[: deployment.device_count]):
        yield from _device(deployment, device)


def _distinct(devices: tuple[Accelerator, ...]) -> list[Accelerator]:
    return list({device.id: device for device in devices}.values())


def _device(deployment: Deployment, device: Accelerator) -> Iterator[Reason]:
    if device.vendor == "amd":
        if device.gfx not in feature("rocm_architectures"):
            yield not_supported(
                "rocm_architecture_missing", feature_source("rocm_architectures"), gpu=device.id, gfx=device.gfx or "?"
            )
        return
    floor = feature("cuda_capability_floor", deployment.engine_version)
    if (device.capability_number or 0) < floor:
        older = "0.19.1" if (device.capability_number or 0) >= 70 else None
        yield not_supported(
            "capability_too_low", feature_source("cuda_capability_floor"), engine="vllm", version=deployment.engine_version,
            gpu=device.id, have=device.compute_capability or "?", need=f"{floor // 10}.{floor % 10}", last_version=older,
        )  # fmt: skip


def architecture_row(name: str) -> Mapping[str, Any] | None:
    """Row of vLLM's model registry for a Hugging Face class; None when no scanned release lists it."""
    known = {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}
    return known.get(name) or known.get(facts()["architecture_names"].get(name, ""))


def _architecture(deployment: Deployment) -> Iterator[Reason]:
    name, version = deployment.model.architecture, deployment.engine_version
    row = architecture_row(name)
    source = Source("source_code", "vllm/model_executor/models/registry.py, 65 releases", "2026-11-20")
    if row is None and is_gguf_file(deployment.model):
        return  # the file names no class; whether vLLM reads such files at all is a matter of the format
    if row is None:
        yield unknown("architecture_unknown_to_engine", source, engine="vllm", architecture=name)
        return
    if parse_version(version) < parse_version(row["in"]):
        yield not_supported(
            "architecture_too_new", source, engine="vllm", architecture=name, version=version, first_version=row["in"]
        )
    if row["gone_in"] and at_least(version, row["gone_in"]):
        yield not_supported(
            "architecture_removed", source, engine="vllm", architecture=name, version=version, gone_in=row["gone_in"]
        )


def format_rows(weight_format: WeightFormat, checkpoint_method: str | None = None) -> list[Mapping[str, Any]]:
    """Methods and schemes that load a format."""
    rows = load_json(PACKAGE, "quantization.json")["rows"]
    wanted = "gguf:*" if weight_format.family == "gguf" else weight_format.name
    named = feature("methods_of_format").get(wanted, ())
    found = [
        row
        for row in rows
        if (wanted in (row["weight_formats"] or []) and row["name"] != "compressed-tensors") or row["name"] in named
    ]
    if checkpoint_method:
        found = [row for row in found if row["name"] == checkpoint_method] or found
    return found


def _capability(row: Mapping[str, Any], version: str) -> int | None:
    found = rows_for_version(row["min_compute_capability"] or [], version)
    values = [
        value
        for item in found
        for value in (item["value"] if isinstance(item["value"], list) else [item["value"]])
        if isinstance(value, int)
    ]
    return min(values) if values else None


def _present(row: Mapping[str, Any], version: str) -> bool:
    first, gone = row["first_scanned"], row["removed_in"]
    return (first is None or at_least(version, first)) and not (gone and at_least(version, gone))


def _format(deployment: Deployment) -> Iterator[Reason]:
    weight_format, version = deployment.weight_format, deployment.engine_version
    if not weight_format.is_quantized:
        return
    source = Source(
        "source_code", "vllm/model_executor/layers/quantization, get_min_capability by release", "2026-11-20"
    )
    rows = format_rows(weight_format)
    if not rows:
        yield not_supported("format_not_supported", source, engine="vllm", format=weight_format.name)
        return
    present = [row for row in rows if _present(row, version)]
    if not present:
        gone = max((row["removed_in"] for row in rows if row["removed_in"]), key=parse_version, default=None)
        first = min((row["first_scanned"] for row in rows if row["first_scanned"]), key=parse_version, default=None)
        removed = gone if gone and at_least(version, gone) else None
        yield not_supported(
            "format_removed" if removed else "format_too_new", source, engine="vllm", format=weight_format.name, version=version,
            gone_in=removed, first_version=first, plugin=_plugin(weight_format),
        )  # fmt: skip
        return
    if weight_format.family == "bnb" and any(layer.experts for layer in deployment.model.layers):
        yield warning("bnb_experts_per_model", engine="vllm", format=weight_format.name)
    for device in _distinct(deployment.machine.devices[: deployment.device_count]):
        yield from _format_on_device(weight_format, version, device, present, source)


def _plugin(weight_format: WeightFormat) -> str | None:
    return {"gguf": "vllm-gguf-plugin", "bnb": "vllm-bnb-plugin"}.get(weight_format.family)


def _format_on_device(
    weight_format: WeightFormat, version: str, device: Accelerator, present: list[Mapping[str, Any]], source: Source
) -> Iterator[Reason]:
    if device.vendor == "amd" and weight_format.name not in feature("rocm_formats"):
        yield not_supported(
            "format_not_on_rocm", feature_source("rocm_formats"), engine="vllm", format=weight_format.name
        )
    if device.vendor != "nvidia":
        return
    have = device.capability_number or 0
    floors = [floor for row in present if (floor := _capability(row, version)) is not None]
    if floors and have < min(floors):
        yield not_supported(
            "format_needs_capability", source, engine="vllm", format=weight_format.name, version=version, gpu=device.id,
            have=device.compute_capability or "?", need=f"{min(floors) // 10}.{min(floors) % 10}",
        )  # fmt: skip
    elif weight_format.family == "fp8" and have < feature("fp8_native_capability"):
        yield warning(
            "fp8_not_accelerated",
            feature_source("fp8_native_capability"),
            gpu=device.id,
            have=device.compute_capability or "?",
        )
    elif weight_format.family == "fp4" and have < feature("fp4_native_capability"):
        yield note(
            "fp4_not_accelerated",
            feature_source("fp4_native_capability"),
            gpu=device.id,
            have=device.compute_capability or "?",
        )


def needs_float16(deployment: Deployment) -> bool:
    """Whether a device cannot compute in bfloat16, so that the server must run in float16."""
    devices = [d for d in deployment.machine.devices[: deployment.device_count] if d.vendor == "nvidia"]
    return any((device.capability_number or 0) < feature("bfloat16_capability") for device in devices)


def _types(deployment: Deployment) -> Iterator[Reason]:
    model, devices = deployment.model, deployment.machine.devices[: deployment.device_count]
    if needs_float16(deployment) and model.dtype == "bf16":
        text_type = model.model_type
        if text_type in feature("no_float16_model_types"):
            yield not_supported(
                "model_needs_bfloat16",
                feature_source("no_float16_model_types"),
                engine="vllm",
                model_type=text_type,
                gpu=devices[0].id,
            )
        else:
            yield note("runs_in_float16", feature_source("bfloat16_capability"), gpu=devices[0].id)
    kv_format = deployment.kv_format
    row = option_row(PACKAGE, options_version(deployment.engine_version), "--kv-cache-dtype")
    allowed = set((row or {}).get("choices") or (row or {}).get("known_values") or ()) | {"auto", "bf16", "f16"}
    if kv_format not in allowed:
        yield not_supported(
            "kv_format_not_supported", engine="vllm", kv_format=kv_format, version=deployment.engine_version
        )
    elif kv_format in {"fp8", "fp8_e4m3"}:
        floor = feature("fp8_e4m3_cache_capability")
        for device in devices:
            if device.vendor == "nvidia" and (device.capability_number or 0) < floor:
                yield not_supported(
                    "kv_fp8_needs_capability",
                    feature_source("fp8_e4m3_cache_capability"),
                    gpu=device.id,
                    have=device.compute_capability or "?",
                )
                break


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """Cache formats that this deployment could use instead of `auto`, widest first."""
    devices = deployment.machine.devices[: deployment.device_count]
    if not devices:
        return ("auto",)
    lowest = min((device.capability_number or 0) for device in devices)
    native = lowest >= feature("fp8_e4m3_cache_capability") or devices[0].vendor == "amd"
    return ("auto", "fp8" if native else "fp8_e5m2")


def _shapes(deployment: Deployment) -> Iterator[Reason]:
    model, tp = deployment.model, deployment.tp
    if deployment.pp > len(model.layers):
        yield not_supported("more_stages_than_layers", pp=deployment.pp, layers=len(model.layers))
    if tp == 1 and deployment.ep == 1:
        return
    yield from _head_shapes(model, tp)
    yield from _width_shapes(model, deployment.weight_format, tp, deployment.ep)


def _head_shapes(model: LanguageModel, tp: int) -> Iterator[Reason]:
    for layer in model.layers:
        for mixer in layer.mixers:
            heads = getattr(mixer, "query_heads", None)
            if heads is not None and heads % tp:
                yield not_supported("heads_not_divisible", heads=heads, tp=tp)
                return
            if isinstance(mixer, Attention) and mixer.kv_heads % tp and tp % mixer.kv_heads:
                yield not_supported("kv_heads_not_divisible", heads=mixer.kv_heads, tp=tp)
                return
            values = getattr(mixer, "value_heads", None) or getattr(mixer, "heads", None)
            if values and values % tp:
                yield not_supported("heads_not_divisible", heads=values, tp=tp)
                return


def _width_shapes(model: LanguageModel, weight_format: WeightFormat, tp: int, ep: int) -> Iterator[Reason]:
    group = model.checkpoint.group_size if model.checkpoint and model.checkpoint.group_size else weight_format.group
    widths = {layer.dense.width for layer in model.layers if layer.dense}
    if ep == 1:
        widths |= {layer.experts.width for layer in model.layers if layer.experts}
    elif any(layer.experts and layer.experts.count % ep for layer in model.layers):
        count = next(layer.experts.count for layer in model.layers if layer.experts)
        yield not_supported("experts_not_divisible", experts=count, ep=ep)
    for width in sorted(widths):
        if width % tp:
            yield not_supported("width_not_divisible", width=width, tp=tp)
        elif weight_format.name in _GROUPED and group and (width // tp) % group:
            yield not_supported("group_not_divisible", width=width, tp=tp, group=group, format=weight_format.name)
        elif weight_format.name == "fp8-block" and (width // tp) % 128:
            yield not_supported("group_not_divisible", width=width, tp=tp, group=128, format=weight_format.name)


def _length(deployment: Deployment) -> Iterator[Reason]:
    if deployment.context_tokens > deployment.model.max_context_tokens:
        yield not_supported(
            "context_beyond_model",
            context_tokens=deployment.context_tokens,
            limit_tokens=deployment.model.max_context_tokens,
        )


def _options(deployment: Deployment) -> Iterator[Reason]:
    names = option_names(PACKAGE, options_version(deployment.engine_version))
    for option in deployment.options:
        if f"--{option}" not in names:
            yield not_supported(
                "option_unknown", engine="vllm", option=f"--{option}", version=deployment.engine_version
            )
