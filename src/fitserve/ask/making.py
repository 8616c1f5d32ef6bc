"""How the weights of a format are made, from the tools' own documentation."""

from fitserve.ask.types import Block, Code, Say
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Source, note
from fitserve.models.catalog.lookup import rows
from fitserve.models.formats import WeightFormat, parse_format

_MODIFIERS = {
    "awq-4bit": ("awq", "AWQModifier", "W4A16_ASYM"), "gptq-4bit": ("quantization", "GPTQModifier", "W4A16"),
    "w4a16": ("quantization", "GPTQModifier", "W4A16"), "gptq-8bit": ("quantization", "GPTQModifier", "W8A16"),
    "int8-w8a8": ("quantization", "GPTQModifier", "W8A8"),
}  # fmt: skip
_SCHEMES = {"fp8": "FP8_DYNAMIC", "fp8-block": "FP8_BLOCK", "nvfp4": "NVFP4A16"}
_USUAL = {"gguf": "gguf:Q4_K_M", "4bit": "awq-4bit", "8bit": "fp8", "exl3": "exl3:4.0bpw", "exl2": "exl2:4.65bpw"}


def usual_format(name: str) -> str:
    """The format that a family or a width usually means when weights are made."""
    return _USUAL.get(name, name)


def making_of(model_id: str, format_name: str) -> list[Block] | None:
    """The steps and their source; None where no tool makes the format."""
    weight_format = parse_format(format_name)
    kind = _kind(weight_format)
    if kind is None:
        return None
    row = load_toml("fitserve.ask", "making.toml")[kind]
    text = row["text"].strip()
    for name, value in _values(model_id, weight_format).items():
        text = text.replace("{" + name + "}", value)
    source = Source(**row["source"])
    sentence = note("ask_make_with", source, format=weight_format.name, model=model_id, ref=source.ref)
    return [Say(sentence), Code(text, row["language"])]


def _kind(weight_format: WeightFormat) -> str | None:
    if weight_format.name in _MODIFIERS:
        return "int4"
    if weight_format.name in _SCHEMES:
        return "fp8"
    return weight_format.family if weight_format.family in {"gguf", "exl2", "exl3", "mlx"} else None


def _values(model_id: str, weight_format: WeightFormat) -> dict[str, str]:
    module, modifier, scheme = _MODIFIERS.get(
        weight_format.name, ("quantization", "QuantizationModifier", _SCHEMES.get(weight_format.name, ""))
    )
    bits = weight_format.bits or 0
    return {
        "model": model_id, "name": model_id.split("/")[-1], "type": weight_format.gguf_mix or "Q4_K_M",
        "bits": f"{bits:g}", "module": module, "modifier": modifier, "scheme": scheme,
        "ignore": ', "re:.*router", "re:.*vision.*", "re:.*multi_modal.*"' if _has_experts(model_id) else "",
    }  # fmt: skip


def _has_experts(model_id: str) -> bool:
    row = rows().get(model_id)
    if row is None:
        return False
    active, total = row["active_params"], row["total_params"]
    return bool(active and total and active < total)
