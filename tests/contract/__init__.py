"""One contract for every implementation of a port, on real back ends."""
