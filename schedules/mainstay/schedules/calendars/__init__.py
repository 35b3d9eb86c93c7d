"""Calendars that others write (iCalendar, RFC 5545): parsed within limits, fetched with care, kept for the days without network."""
