"""Backbones: features of examples, for T tasks at once."""
