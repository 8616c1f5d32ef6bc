"""Coefficients that the tools fit from measured cases."""
