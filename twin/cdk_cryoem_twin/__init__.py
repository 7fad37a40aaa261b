"""The twin: the whole system on one machine, with real CDK, CloudFormation templates, Lambda code, Slurm and RELION."""
