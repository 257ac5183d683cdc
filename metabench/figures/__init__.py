"""Parts that all pictures share, of runs and of tables: the look, places for labels, files."""
