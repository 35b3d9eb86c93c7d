"""Telling people: notices, and pings of a dead man's switch. Put down first, then delivered, at least once."""
