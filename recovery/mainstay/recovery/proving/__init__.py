"""Proof by restore: points are restored into a scratch place, compared with the repository, asked questions, and cleaned up."""
