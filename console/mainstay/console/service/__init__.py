"""What a daemon owes the machine that it runs on: word to the supervisor, a health endpoint, a unit that systemd takes."""
