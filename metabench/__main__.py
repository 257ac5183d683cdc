"""`python -m metabench`."""

from metabench.cli.main import main

if __name__ == "__main__":
    main()
