"""What a run leaves on disk, and what names it."""
