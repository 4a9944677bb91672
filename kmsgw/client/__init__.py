"""The SDK of kmsgw."""
