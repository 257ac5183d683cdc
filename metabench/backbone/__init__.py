"""Backbones: features of examples, for many tasks at once."""
