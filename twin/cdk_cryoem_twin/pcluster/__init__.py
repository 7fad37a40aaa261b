"""The double of ParallelCluster: takes the very ClusterConfiguration that AWS would get, and starts Slurm from it."""
