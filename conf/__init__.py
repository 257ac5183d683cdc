"""The configurations, installed as `metabench.conf`."""
