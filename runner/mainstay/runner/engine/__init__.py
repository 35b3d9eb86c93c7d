"""Durable execution behind a narrow port: a step that finished is never run again. Adapter: DBOS; a fake held to the same suite."""
