"""Where content is kept for real: files."""
