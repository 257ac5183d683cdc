"""One run: built, meta-trained, meta-tested, recorded."""
