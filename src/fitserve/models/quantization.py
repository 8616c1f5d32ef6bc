"""What a `quantization_config` says: the weight format, what stays unquantized, the KV format.

Methods and fields as vLLM 0.33.0 reads them (vllm/model_executor/layers/quantization, one file a method).
"""

from collections.abc import Mapping
from typing import Any

from fitserve.models.types import QuantizedCheckpoint

_MODELOPT = {
    "FP8": "fp8",
    "NVFP4": "nvfp4",
    "W4A16_AWQ": "awq-4bit",
    "MXFP8": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
}
_KV = {"fp8": "fp8", "FP8": "fp8", "NVFP4": "nvfp4"}


def read_quantization(config: Mapping[str, Any]) -> QuantizedCheckpoint | None:
    """The checkpoint's own format; None when it is not quantized. Raises ValueError for a method that is not known."""
    given = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(given, Mapping) or not given:
        return None
    inner = given.get("hf_quant_config")
    details: dict[str, Any] = {
        **(inner if isinstance(inner, Mapping) else {}),
        **{k: v for k, v in given.items() if v is not None},
    }
    return QuantizedCheckpoint(
        weight_format=_format(details, config),
        kept_modules=_kept(details),
        kv_format=_kv_format(details),
        group_size=_group_size(details),
    )


def _format(details: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    method = str(details.get("quant_method", "")).lower()
    bits = int(details.get("bits") or details.get("num_bits") or 0)
    if method == "fp8":
        if config.get("expert_dtype") == "fp4":
            return "mxfp4"
        return "fp8-block" if details.get("weight_block_size") else "fp8"
    if method in {"fbgemm_fp8", "ptpc_fp8"}:
        return "fp8"
    if method in {"awq", "gptq"}:
        return f"{method}-{bits or 4}bit"
    if method in {"auto-round", "autoround", "inc"}:
        return "autoround-int4"
    if method == "bitsandbytes":
        return "bnb-8bit" if details.get("load_in_8bit") else "bnb-4bit"
    if method == "mxfp4":
        return "mxfp4"
    if method == "modelopt":
        algorithm = str(details.get("quant_algo", "FP8"))
        return "nvfp4" if algorithm == "MIXED_PRECISION" else _MODELOPT[algorithm]
    if method == "compressed-tensors":
        return _compressed(details)
    if method.startswith("exl"):
        return f"{method}:{details.get('bits', '')}bpw"
    raise ValueError(method)


def _compressed(details: Mapping[str, Any]) -> str:
    weights, kind, activations = _compressed_weights(details)
    bits = int(weights.get("num_bits") or details.get("num_bits") or 0)
    if "mxfp4" in kind:
        return "mxfp4"
    if "nvfp4" in kind or (bits == 4 and weights.get("type") == "float"):
        return "nvfp4"
    if bits == 8 and weights.get("type", "float" if "float" in kind else "int") == "float":
        return "fp8-block" if weights.get("strategy") == "block" or weights.get("block_structure") else "fp8"
    if bits == 8:
        return "int8-w8a8" if activations else "gptq-8bit"
    if bits == 4:
        return "w4a16"
    raise ValueError(f"compressed-tensors {kind} {bits} bit")


def _compressed_weights(details: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, bool]:
    groups = details.get("config_groups")
    first = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else details
    weights = first.get("weights") or details.get("weights") or {}
    return weights, str(details.get("format") or first.get("format") or ""), bool(first.get("input_activations"))


def _group_size(details: Mapping[str, Any]) -> int | None:
    size = details.get("group_size")
    if size is None and details.get("quant_method") == "compressed-tensors":
        size = _compressed_weights(details)[0].get("group_size")
    return size if isinstance(size, int) and size > 0 else None


def _kept(details: Mapping[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for field in ("ignore", "modules_to_not_convert", "exclude_modules", "llm_int8_skip_modules"):
        value = details.get(field)
        if isinstance(value, list):
            names += [str(item) for item in value if not str(item).startswith("...")]
    if details.get("targets") == "routed experts":
        names += ["self_attn", "shared_experts", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "lm_head"]
    return tuple(dict.fromkeys(names))


def _kv_format(details: Mapping[str, Any]) -> str | None:
    algorithm = details.get("kv_cache_quant_algo")
    if algorithm:
        return _KV.get(str(algorithm))
    scheme = details.get("kv_cache_scheme")
    if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return "fp8" if scheme.get("type") == "float" else "int8"
    return None
