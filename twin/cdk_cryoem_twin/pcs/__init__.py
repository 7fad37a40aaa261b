"""The double of AWS Parallel Computing Service: takes the very resources that AWS would get, and runs Slurm of them."""
