"""What every picture shares, of runs and of tables: its look, places for labels, its files."""
