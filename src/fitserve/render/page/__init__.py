"""A document of sections and blocks, and its forms: Markdown and one self-contained HTML page."""
