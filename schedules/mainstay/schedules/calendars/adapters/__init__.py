"""Calendars for real: over HTTP, kept in a folder."""
