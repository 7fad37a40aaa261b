"""What an operator says to a system that runs: `cryoem wake`, `sleep`, `land`, `reopen`, `status`."""
