"""Rewrapping in bulk: sources of stored envelopes, the journal of a job, and the job itself. On the client's side."""
