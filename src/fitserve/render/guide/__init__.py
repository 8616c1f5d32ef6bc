"""A guide in words: its sections, and the same as JSON."""
