"""Frozen nouns of the domain. Pure: no I/O, no wire, no storage."""
