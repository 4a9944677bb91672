"""Transcripts of the command line: exit codes, standard output and standard error to the letter."""
