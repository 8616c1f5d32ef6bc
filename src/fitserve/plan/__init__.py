"""The one use case: a request goes in, ranked plans or a judged deployment come out."""

from fitserve.callable_package import make_callable

make_callable(__name__)
