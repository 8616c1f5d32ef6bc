"""A launch command to text for shells, Docker and Compose; the only place that quotes."""
