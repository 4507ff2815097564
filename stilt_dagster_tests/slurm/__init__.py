"""Array jobs, on a real Slurm."""
