"""Where the state is kept for real: a SQLite file that the ledger shares."""
