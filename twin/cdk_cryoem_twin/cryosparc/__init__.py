"""A double of cryoSPARC, which is licensed and cannot be here. It proves the interface, not cryoSPARC's behaviour."""
