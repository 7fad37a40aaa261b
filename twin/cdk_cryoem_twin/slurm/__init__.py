"""Slurm on one machine: Debian's daemons, one slurmd a node, nodes that boot and go as the autoscaler says."""
