"""Files of trainers for a fine-tuning job: a script or a configuration, and the command that runs it."""

from collections.abc import Callable, Mapping

from fitserve.emit.trainers.axolotl import axolotl_files
from fitserve.emit.trainers.llama_factory import llama_factory_files
from fitserve.emit.trainers.trl import trl_files
from fitserve.emit.trainers.types import Run, TrainerFiles
from fitserve.emit.trainers.unsloth import unsloth_files

_TRAINERS: Mapping[str, Callable[[Run], TrainerFiles]] = {
    "trl": trl_files,
    "axolotl": axolotl_files,
    "llama-factory": llama_factory_files,
    "unsloth": unsloth_files,
}


def trainer_files(trainer: str, run: Run) -> TrainerFiles:
    """The files of a trainer for a run."""
    return _TRAINERS[trainer](run)
