"""Cedar policies: loading them, and deciding by them."""
