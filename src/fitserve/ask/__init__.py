"""A question in Korean or English to a computed answer: grammar and aliases, no language model, no network."""

from fitserve.callable_package import make_callable

make_callable(__name__)
