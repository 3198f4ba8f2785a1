"""`python -m tilth` is `tilth`."""

from tilth.cli import main

if __name__ == "__main__":
    main()
