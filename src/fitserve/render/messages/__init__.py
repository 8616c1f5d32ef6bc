"""Texts by language: `<language>.toml`."""
