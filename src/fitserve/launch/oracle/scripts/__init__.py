"""Programs that run in the interpreter which has an engine: they stand alone and import nothing of this package."""
