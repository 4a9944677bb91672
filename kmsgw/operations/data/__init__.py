"""The data plane: encryption, decryption, data keys."""
