"""The command line: reserved first words, and everything else through Hydra."""
