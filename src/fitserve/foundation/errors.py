"""What can go wrong, as a tree:

    FitserveError
      InputError            the user can fix it; carries all problems found            exit code 2
      FactMissing           a fact is unknown: which one, and where it would be added  exit code 1
      WorldError            the world said no; carries the command and its last lines  exit code 3
        ProbeFailed           a device of this machine could not be asked
        ReadFailed            a file or a hub could not be read (network, permission)
        LaunchFailed          a server could not be started, died, or never answered
        VerifyFailed          an engine was asked what it allocates and gave no answer
        BenchFailed           a server could not be measured, or lm_eval could not ask it

Anything else is a bug and is shown as one.
"""

from dataclasses import dataclass
from typing import Self

from fitserve.foundation.reasons import Parameter


class FitserveError(Exception):
    """Base of all expected errors."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the input: a message code and what fills its placeholders."""

    code: str
    parameters: tuple[tuple[str, Parameter], ...] = ()


class InputError(FitserveError):
    """The request cannot be understood; `problems` lists everything that is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{p.code} {dict(p.parameters)}" for p in problems))
        self.problems = problems

    @classmethod
    def of(cls, code: str, **parameters: Parameter) -> Self:
        """An error with a single problem."""
        return cls(Problem(code, tuple(parameters.items())))


class FactMissing(FitserveError):
    """A fact is needed and unknown; `where` names the file that would hold it."""

    def __init__(self, fact: str, where: str) -> None:
        super().__init__(f"{fact} is unknown; it would stand in {where}")
        self.fact = fact
        self.where = where


class WorldError(FitserveError):
    """Something outside failed: `action` is what was tried, `detail` what came back.

    `problem` is the message where one is written for this case; without it, action and detail stand for themselves.
    """

    def __init__(self, action: str, detail: str, problem: Problem | None = None) -> None:
        super().__init__(f"{action}: {detail}")
        self.action = action
        self.detail = detail
        self.problem = problem


class ProbeFailed(WorldError):
    """A device of this machine could not be asked."""


class ReadFailed(WorldError):
    """A file or a hub could not be read."""


class LaunchFailed(WorldError):
    """A server could not be started, died, or never answered."""


class VerifyFailed(WorldError):
    """An engine was asked what it would allocate and gave no answer."""


class BenchFailed(WorldError):
    """A server could not be measured, or lm_eval could not ask it."""

    @classmethod
    def of(cls, code: str, **parameters: Parameter) -> Self:
        """An error with a message of its own in the table `world`."""
        return cls(code, str(parameters), Problem(code, tuple(parameters.items())))
