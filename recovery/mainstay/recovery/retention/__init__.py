"""Which points may go: decided here point by point, and carried out by their ids alone."""
