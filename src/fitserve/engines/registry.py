"""All engines. The only place that names one: adding an engine is one folder and one line here.

A folder is imported when its engine is first asked for: most answers need one or two of them. An engine that runs
others (Ollama runs llama.cpp) names them in `mirrors`: its folder has a function `mirror(parents)` in place of `ENGINE`
and gets them from here, so that no folder imports another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType

from fitserve.engines.contract import Engine
from fitserve.foundation.errors import InputError


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine: its id, its folder, what people call it, and whether `plan` tries it unasked."""

    id: str
    folder: str
    names: tuple[str, ...] = ()
    is_tried: bool = False
    mirrors: tuple[str, ...] = ()
    """Ids of the engines that it runs; a weight format whose engine is not among them is not offered."""

    @property
    def package(self) -> str:
        """Where its data and messages lie."""
        return f"fitserve.engines.{self.folder}"


ENTRIES: tuple[Entry, ...] = (
    Entry("vllm", "vllm", ("v-llm",), is_tried=True),
    Entry("llama.cpp", "llama_cpp", ("llama-server", "llama-cli", "gguf"), is_tried=True),
    Entry("ollama", "ollama", mirrors=("llama.cpp",)),
    Entry("lmstudio", "lmstudio", ("lm-studio",), mirrors=("llama.cpp",)),
    Entry("text-generation-webui", "text_generation_webui", ("oobabooga", "textgen", "tgw"), mirrors=("llama.cpp",)),
)
"""The order breaks ties between equal plans."""


@lru_cache(maxsize=len(ENTRIES))
def _load(wanted: Entry) -> Engine:
    module = import_module(wanted.package)
    loaded: Engine
    if wanted.mirrors:
        loaded = module.mirror(MappingProxyType({parent: engine(parent) for parent in wanted.mirrors}))
    else:
        loaded = module.ENGINE
    return loaded


def entry(name: str) -> Entry:
    """The line of an engine's id or alias. Raises InputError for a name that is none."""
    wanted = _plain(name)
    for candidate in ENTRIES:
        if wanted in {_plain(known) for known in (candidate.id, *candidate.names)}:
            return candidate
    raise InputError.of("unknown_engine", given=name, known=tuple(candidate.id for candidate in ENTRIES))


def engine(name: str) -> Engine:
    """The engine of a name or alias. Raises InputError for a name that is none."""
    return _load(entry(name))


def engines(tried_only: bool = False) -> Iterator[Engine]:
    """All engines, or those that `plan` tries unasked."""
    for candidate in ENTRIES:
        if candidate.is_tried or not tried_only:
            yield _load(candidate)


def rank_of(engine_id: str) -> int:
    """Position of an engine in the list."""
    return next(index for index, candidate in enumerate(ENTRIES) if candidate.id == engine_id)


def _plain(name: str) -> str:
    return name.lower().replace(".", "").replace("-", "").replace("_", "").replace(" ", "")
