"""What the project needs and no field names: files, processes, signals, memory, the console."""
