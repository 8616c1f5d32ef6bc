"""Bytes that follow from a model alone, before any engine has a say: weights per format and shard, the cache."""
