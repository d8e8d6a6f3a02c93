"""`python -m redjobs.cli` is `redjobs`, where the program is not on the path."""

from redjobs.cli import main

if __name__ == "__main__":
    main()
