"""The tensor table of a model's GGUF file, as convert_hf_to_gguf of llama.cpp v0.5.0 writes it.

Differences to the checkpoint: no vision tower (a file of its own), no MTP layers, rotary factors added, fewer
embedding rows in Gemma, some projections fused.
"""

from collections.abc import Iterator
from dataclasses import replace

from fitserve.models.types import LanguageModel, TensorGroup

_GGUF_ONLY, _CHECKPOINT_ONLY = "gguf:", "hf:"

# The quantizer leaves these in the type of the source file (llama-quant.cpp, tensor_allows_quantization).
_NEVER_QUANTIZED = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "ssm_conv1d", "shortconv.conv.weight", "altup",
    "laurel", "per_layer_model_proj", "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight", "time_mix_",
)  # fmt: skip

# Of those, the converter writes these in F16 and not in F32 (conversion/base.py).
_F16_SOURCE = (
    "altup_proj", "altup_unembd_proj", "altup_router.weight", "laurel_l.weight", "laurel_r.weight", "per_layer_model_proj",
    "indexer.k_proj.weight", "indexer.q_proj.weight",
)  # fmt: skip


def gguf_tensors(model: LanguageModel) -> tuple[TensorGroup, ...]:
    """Groups of the text model's GGUF file, in the order of a typical file."""
    return tuple(_converted(model))


def _converted(model: LanguageModel) -> Iterator[TensorGroup]:
    fuse_beta_alpha = model.gguf_architecture == "qwen3next"
    for group in model.tensors:
        if group.part != "text" or group.role.startswith(_CHECKPOINT_ONLY):
            continue
        if group.role.startswith(_GGUF_ONLY):
            group = replace(group, role=group.role.removeprefix(_GGUF_ONLY))
        if group.role == "token_embd.weight" and model.text_vocab_rows:
            group = replace(group, shape=(group.shape[0], model.text_vocab_rows))
        if fuse_beta_alpha and group.role == "ssm_alpha.weight":
            continue
        if fuse_beta_alpha and group.role == "ssm_beta.weight":
            group = replace(group, role="ssm_ba.weight", shape=(group.shape[0], 2 * group.shape[1]))
        yield group


def _dimensions(group: TensorGroup) -> int:
    """Dimensions as GGML counts them: trailing ones do not count."""
    return max((index + 1 for index, size in enumerate(group.shape) if size > 1), default=1)


def is_quantizable(group: TensorGroup) -> bool:
    """Whether the quantizer touches a tensor; all others keep the type of the source file."""
    if _dimensions(group) < 2 or not group.role.endswith("weight"):
        return False
    return not any(part in group.role for part in _NEVER_QUANTIZED)


def unquantized_type(group: TensorGroup) -> str:
    """Type of a tensor that the quantizer leaves alone, in a file made from an F16 source."""
    if "tid2eid" in group.role:
        return "I32"
    return "F16" if any(part in group.role for part in _F16_SOURCE) else "F32"
