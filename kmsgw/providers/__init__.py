"""Where key material lives. Providers are independent of each other; only bootstrap imports them."""
