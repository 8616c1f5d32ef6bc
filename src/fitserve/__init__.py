"""fitserve: what runs on this hardware, with evidence. See docs/architecture.md for the folders."""

__version__ = "0.1.0"
