"""What takes the audit logs off the host while they grow: syslog over TLS, OTLP, and mirrors of the tiles.

It reads signed tiles alone, in a process of its own, and each target has a cursor of its own for each log.
"""
