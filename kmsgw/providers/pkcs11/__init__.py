"""Keys in a hardware token, through PKCS#11."""
