"""Data of the predictions: published figures, prices, currencies, and what was fitted to them."""
