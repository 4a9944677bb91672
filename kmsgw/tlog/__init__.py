"""Transparency logs after C2SP tlog and RFC 6962: hashing, tiles, checkpoints, proofs, verification. Pure."""
