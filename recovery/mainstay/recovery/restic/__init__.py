"""restic as mainstay knows it: what it says, what its exit status means, and what the controller does with a repository."""
