"""What can be known before a deployment: offline always, in the account with credentials (`cryoem preflight`)."""
