"""`cryoem cost` and `cryoem cap`: what was spent, on what, and how much of each cap is left."""
