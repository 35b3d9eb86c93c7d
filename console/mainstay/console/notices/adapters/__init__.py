"""How a notice leaves: to a command, to a URL."""
