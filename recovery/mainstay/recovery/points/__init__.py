"""The store of recovery points, their proofs, and what is known of the repositories that hold them."""
