"""The commands of the ledger: list, verify, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance.errors import CheckError
from ui.cli.options import Home, Json, require_places, say, write_json

if TYPE_CHECKING:
    from provenance.ledger import Ledger


def entries(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Entries.")] = 20,
    json_to: Json = None,
    home: Home = None,
) -> None:
    """List the newest pictures made here."""
    from ui.inspection import clean

    require_places(json_to)
    with _opened(home) as ledger:
        newest = ledger.newest(count)
    for entry in newest if json_to != "-" else ():
        recipe = entry.recipe
        prompt = " ".join(str(recipe.get("prompt", "")).split())[:60]
        print(clean(f"{entry.number:>7}  {entry.made[:19]}  {entry.verdict.get('decision')}  "
                    f"seed {recipe.get('seed')}  {entry.file[:12]}  {prompt}"))  # fmt: skip
    write_json([entry.to_json() for entry in newest], json_to)


def verify(home: Home = None) -> None:
    """Check that no entry was changed or taken out since it was made.

    Who can write to the file can also make a new one; keep the last digest elsewhere to know.
    """
    with _opened(home) as ledger:
        problems, held, head = ledger.verify(), len(ledger), ledger.head
    if problems:
        raise CheckError(f"the ledger is broken: {'; '.join(problems)}")
    say(f"{held:,} entries, each as it was made; the last digest is {head}")


def export(
    file: Annotated[
        str, typer.Argument(help="File for JSON lines to write; - is standard output.")
    ],
    home: Home = None,
) -> None:
    """Write all entries, oldest first, as JSON lines."""
    require_places(file)
    with _opened(home) as ledger:
        rows = [entry.to_json() for entry in ledger.entries()]
    write_json(rows, file)
    say(f"{len(rows):,} entries in {file}", file)


def _opened(home: Path | None) -> "Ledger":
    from provenance.ledger import Ledger
    from ui.settings import load_settings

    return Ledger(load_settings(home=home).ledger, create=False)
