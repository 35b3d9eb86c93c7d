"""HTTP to where a site says, and to nowhere else."""
