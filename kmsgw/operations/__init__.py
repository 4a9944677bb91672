"""What the gateway does, one verb a file. Knows ports only: no grpc, no concrete back end."""
