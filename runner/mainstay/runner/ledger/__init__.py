"""The ledger: append-only, hash-chained maintenance records, and an anchor outside the database."""
