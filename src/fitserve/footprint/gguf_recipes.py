"""What a GGUF file weighs by the name of its mix and its publisher, with the spread that publishers' recipes have."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fitserve.footprint.gguf_mix import BASE_TYPES, TypedTensor, is_gguf_file, type_bytes, typed_tensors
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Interval
from fitserve.models.formats import gguf_nominal_bits, gguf_types
from fitserve.models.gguf_tensors import gguf_tensors
from fitserve.models.types import LanguageModel, TensorGroup

_PROJECTOR_SPREAD = (0.02, 0.06)  # norms and biases stay in F32


def _facts() -> Mapping[str, Any]:
    return load_toml("fitserve.footprint", "gguf_publishers.toml")


def is_stock(mix: str) -> bool:
    """Whether a mix is one of llama-quantize's own."""
    return mix.upper() in BASE_TYPES


def stock_mix(recipe: str) -> str | None:
    """The named mix that a publisher's recipe builds on (`UD-Q4_K_XL` -> `Q4_K_M`); None when it names none."""
    name = recipe.upper().removeprefix("UD-")
    for suffix in ("_XXL", "_XL", "_L", "_P"):
        if name.endswith(suffix) and name != "Q3_K_L":
            name = name.removesuffix(suffix)
            break
    if name in {"Q3_K", "Q4_K", "Q5_K"}:
        name += "_M"
    name = "Q8_0" if name == "Q8_K" else name
    return name if is_stock(name) and gguf_nominal_bits(name) else None


def recipe_spread(mix: str) -> tuple[float, float]:
    """Shares by which files of a name deviate from its mix: (below, above), both positive."""
    kind = "usual" if is_stock(mix) else "raised_name" if mix.upper() in _facts()["raised"] else "recipe"
    row = _facts()[kind]["spread"]
    return -row["low"], row["high"]


def recipe_tensors(model: LanguageModel, mix: str, imatrix: bool = False) -> tuple[TypedTensor, ...]:
    """Tensors of a file by its name: a named mix, one with raised embeddings, or the mix that a recipe builds on.

    Raises FactMissing for a name that says nothing of its types.
    """
    if is_gguf_file(model) or is_stock(mix):
        return typed_tensors(model, mix, imatrix)
    raised = _facts()["raised"].get(mix.upper())
    base = raised or stock_mix(mix)
    if base is None:
        raise FactMissing(f"the tensor types of {mix}, a publisher's recipe", "the header of the GGUF file")
    tensors = typed_tensors(model, base, imatrix)
    return tuple(_raise(model, tensor) for tensor in tensors) if raised else tensors


def _raise(model: LanguageModel, tensor: TypedTensor) -> TypedTensor:
    if tensor.role not in {"token_embd.weight", "output.weight"}:
        return tensor
    elements = next(group.elements_each for group in gguf_tensors(model) if group.role == tensor.role)
    return replace(tensor, type="Q8_0", bytes_each=type_bytes("Q8_0", elements))


def gguf_file_bytes(model: LanguageModel, mix: str, publisher: str | None = None) -> Interval:
    """Bytes of a whole file. Raises FactMissing for a name that does not determine the types."""
    row = _facts()["publishers"].get(publisher or "", {})
    stored = _with_output(model) if row.get("keeps_output") and model.tied_embeddings else model
    tensors = recipe_tensors(stored, mix, bool(row.get("imatrix")))
    likely = sum(tensor.total_bytes for tensor in tensors) + header_bytes(model)
    if is_gguf_file(model):
        return Interval.exact(likely)
    below, above = recipe_spread(mix)
    if "spread" in row and mix.upper() not in _facts()["raised"] and is_stock(mix):
        below, above = -row["spread"]["low"], row["spread"]["high"]
    return Interval.around(likely, below, above)


def projector_file_bytes(model: LanguageModel, mix: str) -> Interval:
    """Bytes of a vision projector file (`mmproj-F16`): the vision part in that type. Raises FactMissing without one."""
    row = gguf_types().get(mix.upper().removeprefix("MMPROJ-"))
    size = model.params("vision")
    if row is None or not size:
        raise FactMissing(f"the vision part of {model.id} as {mix}", "src/fitserve/models/catalog/models.json")
    return Interval.around(size * row["block_bytes"] / row["block_elements"], *_PROJECTOR_SPREAD)


def header_bytes(model: LanguageModel) -> int:
    """Metadata and vocabulary, estimated from the number of tokens."""
    row = _facts()["header"]
    plain = model.gguf_architecture in row["without_merges"]
    plain = plain or (
        model.gguf_architecture == "llama" and model.vocab_size <= row["largest_llama_vocabulary_without_merges"]
    )
    return int(model.vocab_size * row["bytes_per_token_without_merges" if plain else "bytes_per_token"])


def _with_output(model: LanguageModel) -> LanguageModel:
    output = TensorGroup(role="output.weight", shape=(model.hidden_size, model.text_vocab_rows or model.vocab_size))
    return replace(model, tied_embeddings=False, tensors=(*model.tensors, output))
