"""Settings of programs that use a served model, all with the same context."""
