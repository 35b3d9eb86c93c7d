"""The phases of one host's work, in order: admit, prepare, change, go back (where it must), finish."""
