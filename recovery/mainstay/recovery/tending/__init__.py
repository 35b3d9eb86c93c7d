"""What keeps repositories sound beside the backups themselves: errands, done on the controller."""
