"""Helpers of the program, of no field of research: files, processes, signals, memory, the console."""
