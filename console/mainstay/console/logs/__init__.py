"""Where log events are written: to stderr, for people or for programs, without secrets and without what steers a terminal."""
