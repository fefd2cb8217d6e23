"""The commands that look at what is there already: audit, check, inspect, credentials."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from ui.cli.options import (
    CLEAR,
    UNREADABLE,
    Csv,
    Fast,
    Groups,
    Home,
    Json,
    LibraryDir,
    Marks,
    PolicyFile,
    Report,
    Workers,
    exit_code,
    goes_on,
    image_files_of,
    require_places,
    say,
    write_json,
)


def audit(
    paths: Annotated[list[Path], typer.Argument(readable=False, help="Image files and folders.")],
    report_to: Report = None,
    json_to: Json = None,
    csv_to: Csv = None,
    fast: Fast = False,
    groups: Groups = True,
    marks: Marks = False,
    workers: Workers = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Check every picture of a folder; run it again to go on where it stopped.

    Near duplicates among the pictures are grouped too; in a group each is close to every other.
    """
    from provenance.audit import audit as run
    from provenance.audit import grouped
    from provenance.scan import Reading
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import anchors, audit_records, factory, make_checker, open_library, traces

    require_places(report_to, json_to, csv_to)
    settings = load_settings(home=home, library=library, policy=policy, workers=workers)
    files = image_files_of(paths)
    rows: list[dict[str, Any]] = []
    with goes_on(), open_library(settings) as opened, report.progress() as bar:
        checker = make_checker(settings, opened, fast=fast)
        task = bar.add_task("checking", total=len(files))
        with (
            audit_records(settings, paths, checker, groups=groups, marks=marks) as (
                journal,
                grouping,
            ),
            traces(settings) as held,
        ):
            found = run(
                files,
                checker,
                factory(settings, fast=fast),
                workers=settings.workers,
                journal=journal,
                grouping=grouping,
                ledger=held.ledger,
                reading=Reading(anchors=anchors(settings), marks=marks, mark_key=held.key),
            )
            for row in found:
                rows.append(row)
                bar.advance(task)
                if row["decision"] != "clear":
                    report.tell(bar, report.line(row), json_to)
            rows = grouped(rows, grouping)
            if report_to:
                report.write_html(rows, report_to, opened, title="Audit")
            if csv_to:
                report.write_csv(rows, csv_to)
            write_json(rows, json_to)
    for text in (*report.group_lines(rows), report.summary(rows)):
        say(text, json_to)
    raise typer.Exit(exit_code(rows))


def check(
    images: Annotated[list[Path], typer.Argument(readable=False, help="Image files.")],
    json_to: Json = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Say one verdict for each image, with the nearest known pictures."""
    from provenance.audit import audit as run
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import factory, make_checker, open_library

    require_places(json_to)
    settings = load_settings(home=home, library=library, policy=policy)
    with open_library(settings) as opened:
        rows = []
        for row in run(images, make_checker(settings, opened), factory(settings)):
            rows.append(row)
            if json_to != "-":
                report.output().print(report.details(row))
    write_json(rows, json_to)
    raise typer.Exit(exit_code(rows))


def inspect(
    images: Annotated[list[Path], typer.Argument(readable=False, help="Image files and folders.")],
    json_to: Json = None,
    trust: Annotated[
        Path | None,
        typer.Option(help="Certificates (PEM) by which Content Credentials are trusted too."),
    ] = None,
    matches: Annotated[
        bool, typer.Option(" /--no-matches", help="Do not compare with the library.")
    ] = True,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Say what each file says about itself: tool, recipe, claims, and how strong each claim is.

    What is claimed, anyone can have written; what is signed was verified; what is measured was
    seen in the file. Marks, the ledger of what was made here, and the library if there is one, are
    looked at too. Nothing that a file names is opened or fetched.
    """
    from provenance.errors import DecodeError
    from provenance.inspect import inspect as read
    from ui import report
    from ui.inspection import page
    from ui.settings import load_settings
    from ui.wiring import anchors, known, traces

    require_places(json_to)
    settings = load_settings(home=home, library=library, policy=policy, trust=trust)
    trusted = anchors(settings)
    rows = []
    unreadable = False
    with ExitStack() as stack:
        held = stack.enter_context(traces(settings))
        judge = stack.enter_context(known(settings)) if matches else None
        for path in image_files_of(images):
            row = read(path, trusted, held)
            if judge and row["error"] is None:
                try:
                    verdict = judge(path, row).to_json()
                    row |= {"matches": verdict["matches"], "library": verdict["library"]}
                except DecodeError as problem:  # what is readable as stored may not be as a picture
                    row["error"] = str(problem)
            if json_to is not None:
                rows.append(row)
            unreadable = unreadable or row["error"] is not None
            if json_to != "-":
                report.output().print(page(row))
    write_json(rows, json_to)
    raise typer.Exit(UNREADABLE if unreadable else CLEAR)


def credentials(
    export: Annotated[
        Path | None,
        typer.Option(help="Write the authority's certificate (PEM) here, for others to trust."),
    ] = None,
    home: Home = None,
) -> None:
    """Say what pictures are signed with, until when, and who believes it.

    The home's own key is made when first needed; settings.toml may name another.
    """
    from provenance.errors import UsageError
    from provenance.files import write_whole
    from ui.inspection import signing
    from ui.settings import load_settings
    from ui.wiring import credential

    require_places(export)
    settings = load_settings(home=home)
    held = credential(settings)
    if export and settings.signing_key:
        raise UsageError("only the home's own authority is exported; signing_chain names another")
    if export:
        write_whole(export, held.authority)
    for line in signing(held, settings.signing_key or settings.credentials):
        print(line)
