"""Run directories, and the names of runs."""
