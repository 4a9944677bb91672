"""kmsgw: a key-management and encryption gateway."""

__version__ = "0.1.0"
