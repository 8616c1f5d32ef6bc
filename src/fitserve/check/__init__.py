"""Lints a pasted launch command or script: shells, containers, options of the release, model and machine."""

from fitserve.callable_package import make_callable

make_callable(__name__)
