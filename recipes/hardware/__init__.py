"""One overlay per kind of machine: the keys that depend on hardware, and nothing else."""
