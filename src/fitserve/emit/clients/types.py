"""What a client needs to know of a server, and what it gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fitserve.engines.contract import LaunchFile
from fitserve.foundation.reasons import Parameter

_ANSWER_SHARE = 4
"""A quarter of the context is left to the answer: prompt and answer share the same window."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A served model. `base` is the address without `/v1`; `key_variable` names the variable that holds the key."""

    base: str
    model: str
    context_tokens: int
    key_variable: str | None = None

    @property
    def openai_url(self) -> str:
        """The base of the OpenAI protocol."""
        return f"{self.base}/v1"

    @property
    def answer_tokens(self) -> int:
        """Room for the answer."""
        return max(1, self.context_tokens // _ANSWER_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One step for the user: a code of the texts and what fills it."""

    code: str
    parameters: tuple[tuple[str, Parameter], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Files to write, variables to set, and steps to follow, in order."""

    files: tuple[LaunchFile, ...] = ()
    env: Mapping[str, str] = field(default_factory=_nothing)
    steps: tuple[Told, ...] = ()


def told(code: str, **parameters: Parameter) -> Told:
    """A step."""
    return Told(code=code, parameters=tuple(parameters.items()))
