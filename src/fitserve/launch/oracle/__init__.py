"""Asks an engine's own code what it would allocate, without weights and without a GPU, and compares the budget with it."""
