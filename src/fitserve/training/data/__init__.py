"""Coefficients of memory and time of training, written by tools/fit_finetune.py."""
