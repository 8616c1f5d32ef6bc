"""Enumerate candidates, prune with reasons, rank, and find the nearest fixes."""
