"""What the Modelfile starts from: the file that was read, a tag of the Ollama library, or the usual file name."""

import re
from functools import lru_cache

from fitserve.engines.contract import Deployment
from fitserve.engines.mirroring import file_name
from fitserve.engines.ollama.rules import feature
from fitserve.models.catalog.lookup import aliases

_TAG = re.compile(r"[a-z0-9][a-z0-9.\-]*:[a-z0-9][a-z0-9.\-]*")
_SPLIT = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


@lru_cache(maxsize=256)
def _tag(model_id: str) -> str | None:
    tags = [name for name, target in aliases().items() if target == model_id and _TAG.fullmatch(name)]
    return min(tags, key=lambda tag: (len(tag), tag), default=None)


def library_tag(deployment: Deployment) -> str | None:
    """The library's tag of this model; None when none is known or the weights are the user's own file."""
    return _tag(deployment.model.id) if deployment.repository is None else None


def origin(deployment: Deployment) -> str:
    """The argument of FROM. A tag only for the mix that the library's plain tags usually hold."""
    tag = library_tag(deployment)
    if tag is not None and deployment.weight_format.gguf_mix in feature("library_mixes"):
        return tag
    name = _SPLIT.sub("-merged", file_name(deployment))
    is_path = re.match(r"[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]", name) is not None
    return name if is_path else f"./{name}"
