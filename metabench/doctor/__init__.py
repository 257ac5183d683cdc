"""`metabench doctor`: the checks of an installation."""
