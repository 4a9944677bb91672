"""Migrations of the schema, in order; `kmsgw.storage.migrate` runs them.

A new one is a module in `versions` with the next number. It adds and never removes what the version before reads, so
that the nodes of a cluster can be replaced one by one.
"""
