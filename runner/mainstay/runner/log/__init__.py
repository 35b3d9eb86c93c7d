"""Logs: events through Python's own logging, so that libraries and mainstay end in the same place; the console writes them."""
