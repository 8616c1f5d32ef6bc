"""Starts a server, waits for it, proves that it answers, and stops it [I/O]."""
