"""The command `kmsgw`: one file a noun."""
