"""Units, errors, reasons, sourced facts: knows nothing about language models."""
