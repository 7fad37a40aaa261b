"""One convergence for each concern: the truth and what is wanted in, guarded commands out. Hooks and sweeper call the same.

Acting twice changes nothing. Serialisation is where the effect is: a lock on the head node for nodes, one for lanes, a
condition in the record table for everything that is written down.
"""
