"""The parts of the provider `vault` that need no server."""
