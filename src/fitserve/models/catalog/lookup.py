"""Rows of the catalogue and the LanguageModels built from them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fitserve.foundation.facts import load_json
from fitserve.models.architectures.registry import model_from_config
from fitserve.models.quantization import read_quantization
from fitserve.models.types import LanguageModel, TensorGroup

_PACKAGE = "fitserve.models.catalog"
_LAZY_PARTS = (("mtp_params", "mtp"), ("vision_params", "vision"))


@lru_cache(maxsize=1)
def rows() -> Mapping[str, Mapping[str, Any]]:
    """Catalogue rows by model id, in the order of the file."""
    return {row["id"]: row for row in load_json(_PACKAGE, "models.json")["rows"]}


@lru_cache(maxsize=1)
def aliases() -> Mapping[str, str]:
    """Lower-case alias to model id."""
    return dict(load_json(_PACKAGE, "aliases.json")["rows"])


@lru_cache(maxsize=512)
def catalog_model(model_id: str) -> LanguageModel:
    """The model of a catalogue row. Vision and MTP parts are one tensor group each, as large as the row says."""
    row = rows()[model_id]
    others = tuple(
        TensorGroup(role=f"{part}.all", shape=(row[field],), part=part) for field, part in _LAZY_PARTS if row[field]
    )
    model = model_from_config(row["config"], model_id, f"catalogue row {model_id}", others)
    return replace(model, checkpoint=read_quantization(row["config"]), base_id=row["quantized_from"])


def quantized_repositories(model_id: str) -> list[tuple[str, str]]:
    """Published pre-quantized repositories of a model with their formats, in catalogue order."""
    found = []
    for row in rows().values():
        if row["quantized_from"] == model_id:
            checkpoint = read_quantization(row["config"])
            if checkpoint is not None:
                found.append((row["id"], checkpoint.weight_format))
    return found
