"""Parameter counts the way model cards count them."""

from fitserve.models.types import LanguageModel

# Stored as integers, so not counted as parameters.
_INTEGER_TABLES = {"ffn_gate_tid2eid.weight"}


def checkpoint_params(model: LanguageModel, part: str | None = "text") -> int:
    """Weights of the Hugging Face checkpoint in one part (all parts: None); tensors that only GGUF files hold are left out."""
    return sum(
        group.elements
        for group in model.tensors
        if (part is None or group.part == part)
        and not group.role.startswith("gguf:")
        and group.role not in _INTEGER_TABLES
    )
