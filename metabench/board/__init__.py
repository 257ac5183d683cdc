"""Boards: every method on one test after one training budget, and what task shift costs it."""
