"""The gRPC side: which RPCs there are, what every call passes through, and the mapping of the wire to the model."""
