"""HOW maintenance is done: plans, operations, waves, runs, verdicts, records, the ledger, the engine, SSH and patching."""
