"""Image sets: from raw files to one packed tensor, and the fixed class splits."""
