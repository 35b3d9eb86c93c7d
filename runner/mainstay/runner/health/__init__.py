"""Is a host well: health checks before and after a change, and services that were lost on the way."""
