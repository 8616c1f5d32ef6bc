"""Data of the predictions: published figures and what was fitted to them."""
