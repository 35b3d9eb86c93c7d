"""The backup of one host: what is taken, the job that takes it, and what is found of it afterwards."""
