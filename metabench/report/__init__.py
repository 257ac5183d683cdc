"""From run directories to tables: reading, grouping, verdicts, and one file a format. Needs no torch."""
