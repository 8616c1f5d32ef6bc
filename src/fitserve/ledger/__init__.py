"""What was planned, tried, measured: one SQLite file of this user [I/O]."""
