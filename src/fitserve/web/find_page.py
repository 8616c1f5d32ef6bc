"""Names while one types: models by id, alias, tag and Korean spelling; GPUs by id, driver name and what people say."""

import contextlib
from collections.abc import Mapping
from functools import lru_cache

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.models.catalog.lookup import aliases, rows
from fitserve.models.names import resolve_name
from fitserve.render.human import bytes_text, params_text
from fitserve.web.frame import page

router = APIRouter(include_in_schema=False)
_SHOWN = 12
_LONGEST = 80


@router.get("/part/models")
def model_names(request: Request) -> Response:
    """Options of the list below the model's field."""
    return page(request, "options.html", {"options": models_like(request.query_params.get("q", ""))})


@router.get("/part/gpus")
def gpu_names(request: Request) -> Response:
    """Options of the list below a GPU's field."""
    return page(request, "options.html", {"options": gpus_like(request.query_params.get("q", ""))})


@lru_cache(maxsize=1)
def _model_words() -> Mapping[str, str]:
    """Everything that a model is called, in one text."""
    found: dict[str, list[str]] = {
        model_id: [model_id.lower(), row["family"].lower()] for model_id, row in rows().items()
    }
    for alias, model_id in aliases().items():
        if model_id in found:
            found[model_id].append(alias)
    return {model_id: " ".join(parts) for model_id, parts in found.items()}


def _spoken(text: str) -> str:
    """Korean words as the ids spell them."""
    words: Mapping[str, str] = load_toml("fitserve.models", "spoken_names.toml")["words"]
    for korean in sorted(words, key=len, reverse=True):
        text = text.replace(korean, f"{words[korean]} ")
    return text


def models_like(text: str, most: int = _SHOWN) -> list[tuple[str, str]]:
    """(id, what stands beside it): the one that the text names, then those that hold every word, in catalogue order."""
    wanted = text.strip().lower()[:_LONGEST]
    found: list[str] = []
    with contextlib.suppress(InputError):
        found += [resolve_name(wanted).id] if wanted else []
    parts = _spoken(wanted).replace("/", " ").split()
    held = [i for i, names in _model_words().items() if all(part in names for part in parts)]
    held.sort(key=lambda i: (rows()[i]["quantized_from"] is not None, _is_not_chat(i)))
    listed = list(dict.fromkeys([*found, *held]))[:most]
    return [(model_id, _about_model(rows()[model_id])) for model_id in listed]


def _is_not_chat(model_id: str) -> bool:
    return "chat" not in (rows()[model_id]["tags"] or ())


def _about_model(row: Mapping[str, object]) -> str:
    total, active = row["total_params"], row["active_params"]
    if not isinstance(total, int):
        return ""
    text = params_text(total)
    return text if not isinstance(active, int) or active >= total else f"{text} · {params_text(active)} active"


@lru_cache(maxsize=1)
def _gpu_words() -> Mapping[str, str]:
    return {
        gpu_id: " ".join([gpu_id.replace("-", " "), gpu_id, row["vendor"], *row["names"]]).lower()
        for gpu_id, row in gpu_rows().items()
    }


def gpus_like(text: str, most: int = _SHOWN) -> list[tuple[str, str]]:
    """(id, memory): the card that the text names, then those whose names hold every word."""
    wanted = text.strip().lower()[:_LONGEST]
    found: list[str] = []
    with contextlib.suppress(InputError):
        found += [identify(wanted).device.id] if wanted else []
    held = [i for i, names in _gpu_words().items() if all(part in names for part in wanted.split())]
    listed = list(dict.fromkeys([*(i for i in found if i in gpu_rows()), *held]))[:most]
    return [(gpu_id, bytes_text(gpu_rows()[gpu_id]["memory_bytes"])) for gpu_id in listed]
