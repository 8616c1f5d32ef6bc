"""All engines. The only place that names one: adding an engine is one folder and one line here."""

from fitserve.engines.contract import Engine
from fitserve.engines.llama_cpp import ENGINE as LLAMA_CPP
from fitserve.engines.vllm import ENGINE as VLLM
from fitserve.foundation.errors import InputError

ENGINES: tuple[Engine, ...] = (VLLM, LLAMA_CPP)


def engine(name: str) -> Engine:
    """The engine of a name or alias. Raises InputError for a name that is none."""
    wanted = _plain(name)
    for candidate in ENGINES:
        if wanted == _plain(candidate.id) or wanted in {_plain(alias) for alias in candidate.names}:
            return candidate
    raise InputError.of("unknown_engine", given=name, known=tuple(candidate.id for candidate in ENGINES))


def _plain(name: str) -> str:
    return name.lower().replace(".", "").replace("-", "").replace("_", "").replace(" ", "")
