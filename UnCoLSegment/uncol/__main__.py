"""Run the command line as `python -m uncol`."""

from uncol.cli import main

if __name__ == "__main__":
    main()
