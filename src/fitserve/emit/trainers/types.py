"""What the file of a trainer is made from."""

from dataclasses import dataclass

from fitserve.engines.contract import LaunchFile
from fitserve.models.types import LanguageModel
from fitserve.plan.finetune import FinetuneAnswer
from fitserve.training.types import FinetuneJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerFiles:
    """Files, the first is the main one, and the command that runs them (an argument list)."""

    files: tuple[LaunchFile, ...]
    argv: tuple[str, ...]
    install: tuple[str, ...]
    """Packages with their versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job with what only its files need. `dataset`: a JSON Lines file of chats (`messages`), or a hub id."""

    job: FinetuneJob
    repository: str
    dataset: str = "data.jsonl"
    epochs: float = 1.0
    output: str = "out"

    @property
    def model(self) -> LanguageModel:
        """The model that is trained."""
        return self.job.model

    @property
    def is_file(self) -> bool:
        """The dataset is a file of this machine."""
        return self.dataset.rpartition(".")[2].lower() in {"json", "jsonl"}

    @property
    def learning_rate(self) -> float:
        """2e-4 for adapters, 2e-5 for whole models.

        QLoRA, arXiv:2305.14314 table 9; Llama 2 was tuned so, arXiv:2307.09288 section 3.1.
        """
        return 2e-5 if self.job.method == "full" else 2e-4

    @property
    def alpha(self) -> int:
        """Scale of the adapters, twice the rank."""
        return 2 * self.job.rank


def run_of(answer: FinetuneAnswer) -> Run:
    """What the trainer's files are made from."""
    request = answer.request
    return Run(
        job=answer.job, repository=answer.repository, dataset=request.dataset or "data.jsonl", epochs=request.epochs
    )
