"""BACK: undoing what a run did, and (later) recovery points, backups, restores and drills."""
