"""`verify`: one fixed deployment, the engine that would run it, its own figures beside ours."""

import sys
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from fitserve.engines.registry import engine
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Verdict
from fitserve.launch.oracle.llama_cpp import ENGINE as LLAMA_CPP
from fitserve.launch.oracle.llama_cpp import Asking, verify_llama_cpp
from fitserve.launch.oracle.types import Verification
from fitserve.launch.oracle.vllm import ENGINE as VLLM
from fitserve.launch.oracle.vllm import verify_vllm
from fitserve.plan.answer import fixed_deployment
from fitserve.plan.fields import Seconds, Text
from fitserve.plan.request import EstimateRequest
from fitserve.plan.world import World

_SECONDS = {LLAMA_CPP: 120.0, VLLM: 600.0}
_OF_THE_MACHINE = {"engine_needs_gpu"}
"""Nothing that keeps an engine's own code from answering."""
_ORACLES = {LLAMA_CPP: verify_llama_cpp, VLLM: verify_vllm}


class VerifyRequest(EstimateRequest):
    """The deployment of an estimate, and how the engine is asked."""

    python: Text | None = None
    timeout: Seconds | None = Field(None, description="verify_timeout")
    keep: Text | None = None


def verify(request: VerifyRequest, world: World) -> Verification:
    """The engine's answer for the deployment of a request. Raises InputError, FactMissing, VerifyFailed."""
    if not request.engine:
        request = request.model_copy(update={"engine": (LLAMA_CPP,)})
    names = [text.partition("==")[0].strip() for text in request.engine]
    if len(names) != 1 or engine(names[0]).id not in _ORACLES:
        raise InputError.of("verify_engine_unknown", given=", ".join(names), known=tuple(_ORACLES))
    deployment, notes = fixed_deployment(request, world)
    blocked = tuple(
        reason
        for reason in engine(deployment.engine).blockers(deployment)
        if reason.verdict in {Verdict.NOT_SUPPORTED, Verdict.UNKNOWN} and reason.code not in _OF_THE_MACHINE
    )
    if blocked:
        return Verification(deployment=deployment, lines=(), seconds=0.0, notes=notes, blocked=blocked)
    how = Asking(
        python=request.python or sys.executable,
        seconds=request.timeout or _SECONDS[deployment.engine],
        keep=None if request.keep is None else Path(request.keep),
    )
    found = _ORACLES[deployment.engine](deployment, how)
    return replace(found, notes=(*notes, *found.notes))
