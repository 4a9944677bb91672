"""Files of any size, sealed and opened on this machine in constant memory (docs/stream.md)."""
