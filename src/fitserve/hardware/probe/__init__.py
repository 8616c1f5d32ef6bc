"""Looks at this machine: GPUs by driver, memory by the operating system. The only part of `hardware` with I/O."""
