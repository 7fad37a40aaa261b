"""What the published datasets cost on which nodes, and what a ribosome cost on clusters of which size: docs/cost.md."""
