"""WHEN work may start: windows, freezes, occurrences and approvals."""
