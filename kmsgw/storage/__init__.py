"""The gateway's state in SQLite or PostgreSQL."""
