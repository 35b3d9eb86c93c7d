"""Bringing data back: which point holds it, where it goes, what would be overwritten, and whether it came as it was."""
