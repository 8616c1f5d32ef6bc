"""Loads a running server and measures it; asks lm_eval for its score [I/O]."""
