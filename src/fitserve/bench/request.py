"""What `bench` and `eval` are asked. Flags are made from these models."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from fitserve.bench.figures import Targets
from fitserve.foundation.errors import InputError
from fitserve.plan.fields import (
    Address,
    Bytes,
    Count,
    Offload,
    Positive,
    Seconds,
    Share,
    Text,
    Texts,
    Tokens,
    Variable,
)
from fitserve.plan.request import Request

MOST_STREAMS = 4096
MOST_LEVELS = 32


def _listed(value: object) -> object:
    """`1,2,4`, repeated flags, or a list."""
    given = value if isinstance(value, tuple | list) else (value,)
    return tuple(part for item in given for part in (item.split(",") if isinstance(item, str) else (item,)))


def _whole(value: object) -> int:
    """A whole number from 0 on."""
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or len(text) > 9:
        raise PydanticCustomError("whole_wrong", "whole_wrong", {"given": text[:80]})
    return int(text)


Counts = Annotated[tuple[Count, ...], BeforeValidator(_listed)]
Rates = Annotated[tuple[Positive, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Whole = Annotated[int, BeforeValidator(_whole)]


class ServerRequest(Request):
    """A server that speaks the OpenAI protocol. The key itself never stands in an answer."""

    url: Address
    model: Text | None = Field(None, description="bench_model")
    served_model: Text | None = None
    api_key: Text | None = None
    api_key_env: Variable | None = None
    endpoint: Literal["auto", "completions", "chat"] = "auto"
    dry_run: bool = False


class BenchRequest(ServerRequest):
    """A load. `concurrency` and `rate` are lists: each value is a run of its own."""

    concurrency: Counts = Field((), description="bench_concurrency")
    rate: Rates = Field((), description="bench_rate")
    burstiness: Positive = 1.0
    num_prompts: Count | None = None
    prompt_tokens: Tokens | None = Field(None, description="bench_prompt_tokens")
    output_tokens: Tokens | None = Field(None, description="bench_output_tokens")
    length_spread: Share | None = None
    dataset: Literal["random", "conversations"] = "random"
    data: Text | None = None
    ignore_eos: bool | None = None
    warmup: Whole | None = None
    seed: Whole = 0
    timeout: Seconds = 600.0
    ttft: Seconds | None = None
    inter_token: Seconds | None = None
    e2e: Seconds | None = None
    extra_body: Text | None = None
    client: Literal["builtin", "vllm", "aiperf"] = Field("builtin", description="bench_client")
    client_path: Text | None = None
    tokenizer: Text | None = Field(None, description="bench_tokenizer")
    calibrate: bool = True
    result_format: Literal["fitserve", "vllm"] = "fitserve"
    gpu: Texts = Field((), description="bench_gpu")
    ram: Bytes | None = None
    engine: Text | None = Field(None, description="bench_engine")
    engine_version: Text | None = None
    format: Text | None = None
    kv_format: Text | None = None
    context: Tokens | None = None
    tp: Count | None = None
    pp: Count | None = None
    offload: Offload = "no"

    @model_validator(mode="after")
    def _bounded(self) -> "BenchRequest":
        if len(self.concurrency) > 1 and len(self.rate) > 1:
            raise InputError.of("bench_two_sweeps")
        if max(len(self.concurrency), len(self.rate)) > MOST_LEVELS:
            raise InputError.of("bench_too_many_levels", most=MOST_LEVELS)
        if any(streams > MOST_STREAMS for streams in self.concurrency):
            raise InputError.of("bench_too_many_streams", most=MOST_STREAMS)
        return self

    @property
    def targets(self) -> Targets:
        """Times that a request must keep to count as good."""
        return Targets(ttft_s=self.ttft, inter_token_s=self.inter_token, e2e_s=self.e2e)

    @property
    def is_predicted(self) -> bool:
        """Whether a machine is named, so that a prediction can stand beside the measurement."""
        return bool(self.gpu or self.engine or self.format)


class EvalRequest(ServerRequest):
    """An evaluation by lm_eval. `task_file` is a YAML of a task, or a folder with some."""

    tasks: Names = ("gsm8k",)
    task_file: Texts = ()
    concurrency: Count = 8
    limit: Count | None = Field(None, description="eval_limit")
    fewshot: Whole | None = None
    output_tokens: Tokens | None = Field(None, description="eval_output_tokens")
    tokenizer: Text | None = Field(None, description="eval_tokenizer")
    context: Tokens | None = Field(None, description="eval_context")
    timeout: Seconds = 300.0
    seed: Whole | None = None
    lm_eval: Text | None = None
    base_score: Positive | None = None


def public_form(request: ServerRequest) -> dict[str, Any]:
    """The request as JSON, without its key."""
    form = request.model_dump(mode="json", exclude={"api_key"})
    return form | {"api_key": None if request.api_key is None else "***"}
