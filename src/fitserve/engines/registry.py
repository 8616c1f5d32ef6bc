"""All engines. The only place that names one: adding an engine is one folder and one line here.

A folder is imported when its engine is first asked for: most answers need one or two of them. An engine that runs
others (Ollama runs llama.cpp) names them in `mirrors`: its folder has a function `mirror(parents)` in place of `ENGINE`
and gets them from here, so that no folder imports another.
"""

from collections.abc import Collection, Iterator
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
    tried_on: tuple[str, ...] = ()
    """Vendors of devices on which `plan` tries it unasked; `*` is every machine."""
    families: tuple[str, ...] = ()
    """Weight formats that nobody else loads: asking for one asks for this engine."""
    mirrors: tuple[str, ...] = ()
    """Ids of the engines that it runs; a weight format whose engine is not among them is not offered."""

    @property
    def package(self) -> str:
        """Where its data and messages lie."""
        return f"fitserve.engines.{self.folder}"


ENTRIES: tuple[Entry, ...] = (
    Entry("vllm", "vllm", ("v-llm",), tried_on=("*",)),
    Entry("sglang", "sglang"),
    Entry("tensorrt-llm", "tensorrt_llm", ("trtllm", "trt-llm", "tensorrt")),
    Entry("mlx", "mlx", ("mlx-lm", "mlx_lm"), tried_on=("apple",), families=("mlx",)),
    Entry("llama.cpp", "llama_cpp", ("llama-server", "llama-cli", "gguf"), tried_on=("*",)),
    Entry("ollama", "ollama", mirrors=("llama.cpp",)),
    Entry("exllamav3", "exllamav3", ("tabbyapi", "tabby", "exl3", "exllama"), families=("exl3",)),
    Entry("exllamav2", "exllamav2", ("exl2",), families=("exl2",)),
    Entry("transformers", "transformers", ("hf", "accelerate")),
    Entry(
        "text-generation-webui",
        "text_generation_webui",
        ("oobabooga", "textgen", "tgw"),
        mirrors=("llama.cpp", "exllamav3", "transformers"),
    ),
    Entry("lmstudio", "lmstudio", ("lm-studio",), mirrors=("llama.cpp", "mlx")),
    Entry("tgi", "tgi", ("text-generation-inference",)),
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


def engines() -> Iterator[Engine]:
    """All engines."""
    for candidate in ENTRIES:
        yield _load(candidate)


def tried(vendors: Collection[str], family: str | None = None) -> tuple[Engine, ...]:
    """Engines to try unasked on devices of these vendors; those of a weight format that only they load."""
    alone = [candidate for candidate in ENTRIES if family in candidate.families]
    usual = [candidate for candidate in ENTRIES if {"*", *vendors} & set(candidate.tried_on)]
    return tuple(_load(candidate) for candidate in alone or usual)


def rank_of(engine_id: str) -> int:
    """Position of an engine in the list."""
    return next(index for index, candidate in enumerate(ENTRIES) if candidate.id == engine_id)


def _plain(name: str) -> str:
    return name.lower().replace(".", "").replace("-", "").replace("_", "").replace(" ", "")
