"""Bytes kept on the controller by their hash: captured packages and the output of steps."""
