"""The ciphertext envelope: its bytes (format), its cryptography (aead), what binds its data key. No I/O."""
