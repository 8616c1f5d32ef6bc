"""Packages that are named like a verb and may be called like one: `fitserve.plan(...)` beside `fitserve.plan.request`."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package whose call is the function of the same name in `fitserve.python_api`."""

    def __call__(self, *values: Any, **flags: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module("fitserve.python_api"), name)(*values, **flags)


def make_callable(package: str) -> None:
    """To be called by the package itself, with its `__name__`."""
    sys.modules[package].__class__ = _Verb
