"""Lints a pasted launch command or script: shells, containers, options of the release, model and machine."""
