"""The clock: what is due is put down as runs, once, and what was missed is put on record."""
