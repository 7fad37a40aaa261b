"""`cryoem report`: what became of one dataset and what that cost, as one page that needs nothing else."""
