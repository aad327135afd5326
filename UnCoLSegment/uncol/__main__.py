"""Run the command line as `python -m uncol`."""

from uncol.cli.main import main

if __name__ == "__main__":
    main()
