"""Patches: the operation, its policy, and the package managers behind it."""
