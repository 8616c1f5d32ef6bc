"""An engine's log to causes and changed commands; reads text, runs nothing."""

from fitserve.callable_package import make_callable

make_callable(__name__)
