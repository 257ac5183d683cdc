"""From the words of a command line to a checked configuration. Imports nothing: help and lists do without pydantic."""
