"""Bytes that follow from the model alone: weights, KV of a token, state of a sequence. What an engine reserves is policy and stands in `engines`."""
