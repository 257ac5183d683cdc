"""Faults, each a function of one attempt: the tests make a few, `scripts/faults.py` all, in a table."""
