"""Where records are kept for real: a SQLite file that the state shares."""
