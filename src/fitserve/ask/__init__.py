"""A question in Korean or English to a computed answer: grammar and aliases, no language model, no network."""
