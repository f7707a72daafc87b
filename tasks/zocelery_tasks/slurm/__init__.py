"""Programs as jobs of a Slurm cluster: submitted once, followed, ended, named."""
