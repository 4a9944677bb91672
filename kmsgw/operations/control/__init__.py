"""The control plane: the lifecycle of keys, policies, status."""
