"""What the ledger keeps of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What was done."""

    PLAN = "plan"
    ESTIMATE = "estimate"
    SERVE = "serve"
    BENCH = "bench"
    EVAL = "eval"
    VERIFY = "verify"
    PROBE = "probe"
    QUANTIZE = "quantize"
    FINETUNE = "finetune"


class State(StrEnum):
    """Where it stands. `LOST`: its process ended without a word (killed, power cut)."""

    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"

    @property
    def is_open(self) -> bool:
        """Whether something may still be running."""
        return self in {State.STARTING, State.READY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row. Times are seconds since the epoch; the mappings are what the verbs print as JSON, without secrets.

    `process` tells how to find the processes again: `keeper_pid`, `keeper_started_s`, `url`, `port`, `log`.
    `parent` is the run that this one belongs to (the server that a bench measured).
    """

    id: int
    kind: Kind
    state: State
    started_s: float
    ended_s: float | None = None
    title: str = ""
    parent: int | None = None
    request: Mapping[str, Any] | None = None
    deployment: Mapping[str, Any] | None = None
    command: Mapping[str, Any] | None = None
    process: Mapping[str, Any] | None = None
    log_tail: str | None = None
    result: Mapping[str, Any] | None = None
    cause: Mapping[str, Any] | None = None
