"""Key providers, below the contract."""
