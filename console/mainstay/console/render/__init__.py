"""Pure functions from values to text. Nothing here reads a clock, a file or a terminal."""
