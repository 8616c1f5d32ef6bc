"""Requests: the same model makes the flags of the command line and the body of the API. Names are those of CONTRACT."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fitserve.foundation.errors import InputError, Problem
from fitserve.plan.fields import (
    Address,
    Bytes,
    Chance,
    Count,
    Offload,
    Positive,
    Seconds,
    Text,
    Texts,
    Tokens,
    Variable,
)

Use = Literal["chat", "coding", "agent", "rag", "batch"]
System = Literal["linux", "windows", "macos"]


class Request(BaseModel):
    """What every request shares: frozen, no unknown keys, errors as a list of problems."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def read(cls, /, **given: Any) -> Self:
        """The request of these values; None counts as not given. Raises InputError with everything that is wrong."""
        try:
            return cls(**{key: value for key, value in given.items() if value is not None})
        except ValidationError as error:
            raise InputError(*(_problem(item) for item in error.errors(include_url=False))) from error


def _problem(error: Any) -> Problem:
    flag = "--" + str(error["loc"][0]).replace("_", "-") if error["loc"] else ""
    context = error.get("ctx") or {}
    if error["type"] == "literal_error":
        return Problem(
            "choice_wrong",
            (
                ("flag", flag),
                ("given", str(error["input"])[:80]),
                ("choices", str(context["expected"]).replace("'", "")),
            ),
        )
    if error["type"] == "extra_forbidden":
        return Problem("flag_unknown", (("flag", flag),))
    if error["type"] == "missing":
        return Problem("flag_missing", (("flag", flag),))
    if "given" not in context:
        return Problem("text_wrong", (("flag", flag), ("given", str(error["input"])[:80])))
    return Problem(str(error["type"]), (("flag", flag), *((key, value) for key, value in context.items())))


class HardwareRequest(Request):
    """The machine and the work; without `gpu` and `hardware` (the file of a report) it is the machine that this runs on."""

    gpu: Texts = ()
    hardware: Text | None = Field(default=None, description="hardware_file")
    ram: Bytes | None = None
    os: System | None = None
    engine: Texts = ()
    engine_version: Text | None = None
    format: Text | None = None
    kv_format: Text | None = None
    context: Tokens | None = None
    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    concurrency: Count | None = None
    rate: Positive | None = None
    acceptance: Chance | None = None
    ttft: Seconds | None = None
    inter_token: Seconds | None = None
    min_tok_per_s: Positive | None = None
    currency: Text | None = None
    exchange_rate: Texts = ()
    use: Use = "chat"
    offload: Offload = "no"
    set: Texts = ()

    def given(self, *without: str) -> dict[str, Any]:
        """What was given, to make another request of; a number alone would be read as GiB, so memory has its unit."""
        fields = self.model_dump(exclude=set(without), exclude_defaults=True)
        return fields | ({"ram": f"{self.ram} B"} if "ram" in fields else {})


class FitRequest(HardwareRequest):
    """Hardware alone: which models of the catalogue run on it."""

    family: Text | None = None
    limit: Count | None = None


class PlanRequest(HardwareRequest):
    """A model, a machine and a workload."""

    model: Text
    tp: Count | None = None
    pp: Count | None = None
    ep: Count | None = None
    dp: Count | None = None
    max_num_seqs: Count | None = None


class EstimateRequest(PlanRequest):
    """One fully fixed deployment; what is not given takes a stated default."""


class ProbeRequest(Request):
    """A look at this machine: which rates are measured."""

    rates: Literal["all", "host", "gpu", "none"] = "all"
    quick: bool = False


class ClientsRequest(Request):
    """A served model; the context is the one that the server was started with."""

    url: Address | None = None
    model: Text | None = None
    context: Tokens | None = None
    api_key_env: Variable | None = None
    engine: Text | None = None
