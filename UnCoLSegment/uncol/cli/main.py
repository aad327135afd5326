"""The command line: the only place that knows the console, its arguments and exit codes.

Help and refusals come at once: what computes is imported in the bodies of the commands (docs/decisions/0029).
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import FrameType

from uncol.cli import options
from uncol.cli.benchmark import benchmark
from uncol.cli.console import accept_any_name, on_signals, say
from uncol.cli.demo import demo
from uncol.cli.doctor import doctor
from uncol.cli.evaluate import evaluate
from uncol.cli.fine_tune import fine_tune
from uncol.cli.groups import EXAMPLES, MEASURE, START, WORK, command_of, make_app
from uncol.cli.models import commands as models_commands
from uncol.cli.segment import segment
from uncol.cli.view import view
from uncol.core.errors import EXIT_BUG, MEMORY_IS_FULL, CancelledError, UncolError, says_memory_is_full
from uncol.core.freed_memory import keep_freed_memory

app = make_app()
command_of(app, "demo", START)(demo)
command_of(app, "doctor", START)(doctor)
command_of(app, "segment", WORK)(segment)
command_of(app, "fine-tune", WORK)(fine_tune)
command_of(app, "view", WORK)(view)
app.add_typer(models_commands, name="models", rich_help_panel=WORK, epilog=f"Example: {EXAMPLES['models']}")
command_of(app, "evaluate", MEASURE)(evaluate)
command_of(app, "benchmark", MEASURE)(benchmark)


class _Interrupted(BaseException):
    """Ctrl-C where nothing asks for it; typer would give KeyboardInterrupt its own ending."""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _Interrupted


def main() -> None:
    """Run the command line and leave with 0 done, 1 our bug, 2 the user can fix it, 130 cancelled."""
    accept_any_name()
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, level=logging.WARNING)
    keep_freed_memory()
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        with on_signals(_interrupt):
            app(args=options.join_cases(sys.argv[1:]))
    except _Interrupted:
        say("The command was cancelled.")
        return CancelledError.exit_code
    except UncolError as error:
        say(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001  # the last resort: a bug of ours gets its traceback and its own exit code
        if says_memory_is_full(error):
            say(MEMORY_IS_FULL)
            return UncolError.exit_code
        traceback.print_exc()
        say("This is a bug in UnCoL. Please report it with the lines above.")
        return EXIT_BUG
    return 0
