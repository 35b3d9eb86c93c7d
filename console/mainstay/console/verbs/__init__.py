"""One file per verb. Each holds a `command`, and imports what it needs when it is called."""
