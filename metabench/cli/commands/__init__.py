"""The reserved first words of a command line: one file each, imported when asked for, with `main(arguments)`."""

WORDS = ("compare", "doctor", "export", "leaderboard", "ls", "plot", "predict", "report", "test", "tune", "validate")
