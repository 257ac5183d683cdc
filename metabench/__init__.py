"""metabench: meta-learning methods compared under one protocol."""

__version__ = "0.1.0"
