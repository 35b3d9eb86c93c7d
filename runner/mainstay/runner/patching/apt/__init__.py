"""Debian's and Ubuntu's package manager."""
