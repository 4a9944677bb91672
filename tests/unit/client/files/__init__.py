"""Work on files."""
