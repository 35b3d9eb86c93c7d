"""A world in which runs happen, faults included, in simulated time and in an order that follows from a seed alone.

The rollout, its hosts' workflows and phases, budget, sealing, state and ledger (in memory) are the product's own. The
engine's port, the hosts, the clock, the processes and the people are the simulator's. `python -m tests.sim SEED` shows one.
"""
