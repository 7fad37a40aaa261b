"""ParallelCluster's own judgement of the configurations we generate, in an environment of its own."""

from .environment import PARALLEL_CLUSTER_VERSION, Judge, Unavailable, prepare

__all__ = ["PARALLEL_CLUSTER_VERSION", "Judge", "Unavailable", "prepare"]
