"""The way to a repository for hosts that can't, or must not, reach it themselves: served by the controller on its loopback."""
