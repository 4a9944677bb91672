"""A witness: cosigns the checkpoints of logs that only ever grow (C2SP tlog-witness)."""
