"""Reads models from files, folders and the hub: headers only, never weights. The only part of `models` with I/O."""
