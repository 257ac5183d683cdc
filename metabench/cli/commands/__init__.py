"""The reserved first words of a command line: one file each, imported when asked for, with `main(arguments)`."""

_READING = ("compare", "export", "leaderboard", "ls", "plot", "report", "runs", "show")
WORDS = (*_READING, "doctor", "predict", "rm", "test", "tune", "validate")
