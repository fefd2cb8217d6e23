"""The commands. Each reads its options, lets the rooms work, and says what came of it.

Exit codes: 0 all clear, 1 something is review or block, 2 wrong use, 3 some inputs could not be
read, 4 something is missing or the check cannot run; the worst wins, 2 and 4 before the rest.
130 where Ctrl-C or SIGTERM ended it.
"""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from provenance.errors import CheckError, DecodeError, FirsthandError, MissingError, UsageError
from provenance.threads import one_thread_for_products
from ui.cli import batches, checking, ledger, library, painting
from ui.cli.options import MISSING, NOT_CLEAR, UNREADABLE, WRONG_USE

# Each command with its example.
_COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (
        painting.generate,
        'generate "a fox in the snow" -n 4 --model sdxl.safetensors --lora ink.safetensors:0.8',
    ),
    (
        batches.batch,
        'batch jobs.csv --out pictures --name "{job:05}-{prompt}" --json outcomes.jsonl',
    ),
    (checking.audit, "audit entries/ --report audit.html --json audit.jsonl"),
    (checking.check, "check picture.png"),
    (checking.inspect, "inspect picture.png --json says.jsonl"),
    (checking.credentials, "credentials --export firsthand-authority.pem"),
    (painting.serve, "serve --port 7860"),
    (painting.demo, "demo --out firsthand-demo"),
)
_MODELS_COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (painting.usual, "models calibrate --model sdxl.safetensors"),
)
_LEDGER_COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (ledger.entries, "ledger list -n 5"),
    (ledger.verify, "ledger verify"),
    (ledger.export, "ledger export ledger.jsonl"),
)
_INDEX_COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (library.add, "index add known/ --name gallery"),
    (library.describe, "index describe --from-thumbnails"),
    (library.info, "index info --library known.lib"),
    (library.search, "index search picture.png -k 5"),
    (library.remove, "index remove --source gallery"),
    (library.calibrate, "index calibrate --unrelated others/ --report calibration.html"),
    (library.verify, "index verify"),
)


def main() -> None:
    """Runs the command line; an error becomes one line, under its traceback where it is not
    expected, and an exit code."""
    one_thread_for_products()
    _require_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # services are stopped by it
    try:
        build()()
    except UsageError as error:
        _fail(error, WRONG_USE)
    except DecodeError as error:
        _fail(error, UNREADABLE)
    except (MissingError, CheckError) as error:
        _fail(error, MISSING)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(NOT_CLEAR)
    except OSError as error:  # a full disk, a folder that may not be written to
        told = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        _fail(UsageError(told), WRONG_USE)
    except Exception as error:  # of any library below: no verdict that could be taken for one
        traceback.print_exc()
        _fail(CheckError(f"{type(error).__name__}: {error}"), MISSING)


def _require_streams() -> None:
    """Output that a shell has closed goes nowhere; what its encoding lacks is written escaped."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build() -> typer.Typer:
    """The program: every command with an example under its help."""
    app = typer.Typer(
        name="firsthand",
        help="Text-to-image that shows no picture before it has been checked against known "
        "pictures.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    index = typer.Typer(
        help="The library of known pictures.", no_args_is_help=True, rich_markup_mode=None
    )
    book = typer.Typer(
        help="The ledger of what was made here.", no_args_is_help=True, rich_markup_mode=None
    )
    shelf = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    shelf.callback(epilog="Example: firsthand models")(painting.models)
    app.add_typer(shelf, name="models")
    app.add_typer(index, name="index")
    app.add_typer(book, name="ledger")
    names = {ledger.entries: "list", painting.usual: "calibrate"}
    groups = (
        (app, _COMMANDS),
        (shelf, _MODELS_COMMANDS),
        (index, _INDEX_COMMANDS),
        (book, _LEDGER_COMMANDS),
    )
    for group, commands in groups:
        for command, example in commands:
            group.command(names.get(command), epilog=f"Example: firsthand {example}")(command)
    return app


def _fail(error: FirsthandError, code: int) -> None:
    print(f"firsthand: {error}", file=sys.stderr)
    sys.exit(code)
