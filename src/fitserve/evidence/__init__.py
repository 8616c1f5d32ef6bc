"""Predicted against measured: case files, predictions from what was given alone, the scoreboard, the report."""
