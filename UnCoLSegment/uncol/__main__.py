"""Run the command line, as `uncol` and as `python -m uncol`."""

from __future__ import annotations

import sys

from uncol.core.errors import CancelledError


def main() -> None:
    """Load the command line and run it; Ctrl-C is one sentence from the first moment on."""
    try:
        from uncol.cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:  # before `command_line` listens to it
        sys.stderr.write("The command was cancelled.\n")
        sys.exit(CancelledError.exit_code)


if __name__ == "__main__":
    main()
