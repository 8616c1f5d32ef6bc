"""What users ask of a model: tokens, how many at once, for what purpose."""
