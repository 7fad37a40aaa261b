"""`cryoem plan`: what a dataset will take and cost, and which nodes it is best computed on.

`calibration` reads the tables below `data/`; `model` makes hours and prices of them; `search` finds the best nodes; `command`
is the command.
"""

from .calibration import Dataset, Speed, Step, datasets, speed, speeds, steps

__all__ = ["Dataset", "Speed", "Step", "datasets", "speed", "speeds", "steps"]
