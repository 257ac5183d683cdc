"""The same work in metabench and in every peer: one file a contestant, each a process that `compare_peers.py` asks."""
