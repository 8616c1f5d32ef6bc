"""fitserve: what runs on this hardware, with evidence. See docs/architecture.md for the folders.

The functions of `fitserve.python_api` (`plan`, `estimate`, `fit` and the others) are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitserve.python_api import FactMissing as FactMissing
    from fitserve.python_api import FitserveError as FitserveError
    from fitserve.python_api import InputError as InputError
    from fitserve.python_api import Plans as Plans
    from fitserve.python_api import Result as Result
    from fitserve.python_api import WorldError as WorldError
    from fitserve.python_api import ask as ask
    from fitserve.python_api import check as check
    from fitserve.python_api import compare as compare
    from fitserve.python_api import cost as cost
    from fitserve.python_api import diagnose as diagnose
    from fitserve.python_api import estimate as estimate
    from fitserve.python_api import fit as fit
    from fitserve.python_api import guide as guide
    from fitserve.python_api import hardware as hardware
    from fitserve.python_api import plan as plan

__version__ = "0.1.0"
_PACKAGES = ("ask", "check", "diagnose", "hardware", "plan")
"""Verbs that are packages as well; those can be called."""
_FUNCTIONS = (
    "FactMissing", "FitserveError", "InputError", "Plans", "Result", "WorldError", "compare", "cost", "estimate", "fit",
    "guide",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads what is asked for; `import fitserve` alone loads nothing."""
    if name in _PACKAGES:
        return import_module(f"fitserve.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module("fitserve.python_api"), name)
    raise AttributeError(f"module 'fitserve' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_FUNCTIONS})
