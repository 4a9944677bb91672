"""The record of every operation, and the durable log that holds it."""
