"""urllib3, held to the addresses that may be asked."""
