"""A finished run in use: from Python, and on a user's own images or points."""
