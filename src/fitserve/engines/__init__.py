"""What each engine can do, needs, reserves and is told: one folder an engine, listed in `registry.py`."""
