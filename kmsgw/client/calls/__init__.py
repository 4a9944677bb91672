"""Each verb once, for both flavours of the client: a pure function from arguments to a `Call`."""
