"""Reading audit logs: a derived index, searches in it, and reports. On the reader's side; no part of a server.

What is derived is never believed: each entry that is shown was read from the signed tree.
"""
