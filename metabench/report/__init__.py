"""From run directories to tables: reading, grouping, verdicts, and one file per format. Needs no torch."""
