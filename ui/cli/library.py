"""The commands of the library: add, describe, info, search, remove, calibrate, verify."""

from pathlib import Path
from typing import Annotated, Any

import typer

from provenance.errors import CheckError, UsageError
from ui.cli.options import (
    CLEAR,
    UNREADABLE,
    Home,
    Json,
    LibraryDir,
    PolicyFile,
    Report,
    Workers,
    goes_on,
    image_files_of,
    require_places,
    say,
    write_json,
)


def add(
    sources: Annotated[
        list[Path], typer.Argument(readable=False, help="Folders of images, or image files.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the source [default: the folder's].")
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option(help="Keep a small copy of each reference as evidence.")
    ] = True,
    workers: Workers = None,
    library: LibraryDir = None,
    home: Home = None,
) -> None:
    """Add pictures to the library; run it again to go on where it stopped."""
    from index.ingest import Tally, ingest
    from index.sources import FolderSource
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import factory, make_library

    settings = load_settings(home=home, library=library, workers=workers)
    folders = [FolderSource(path, name) for path in sources]
    code = CLEAR
    with goes_on(), make_library(settings) as opened, report.progress() as bar:
        for source in folders:
            task = bar.add_task(f"indexing {source.name}", total=None)

            def progressed(tally: Tally, total: int, task: Any = task) -> None:
                bar.update(task, completed=tally.done, total=total)

            tally = ingest(
                source,
                opened,
                factory(settings),
                workers=settings.workers,
                thumbnails=thumbnails,
                on_progress=progressed,
            )
            for uri, why in tally.unreadable:
                report.tell(bar, f"unreadable  {uri}: {why}")
                code = UNREADABLE
            report.tell(
                bar,
                f"{source.name}: {tally.added} added, {tally.already_there} already there, "
                f"{len(tally.unreadable)} unreadable",
            )
        say(f"{len(opened):,} references in {settings.library}")
    raise typer.Exit(code)


def describe(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders to look in for references whose URI is not a file's."),
    ] = None,
    from_thumbnails: Annotated[
        bool,
        typer.Option("--from-thumbnails", help="Take the small copy where a source is gone."),
    ] = False,
    drop: Annotated[
        str | None, typer.Option(metavar="NAME", help="First forget this descriptor.")
    ] = None,
    workers: Workers = None,
    library: LibraryDir = None,
    home: Home = None,
) -> None:
    """Add descriptors that the settings name to the library; run it again to go on."""
    from index.describe import Progress
    from index.sources import FolderSource
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import add_descriptors, open_library

    settings = load_settings(home=home, library=library, workers=workers)
    folders = [FolderSource(path) for path in sources or []]
    with goes_on(), open_library(settings) as opened, report.progress() as bar:
        if drop is not None:
            opened.drop(drop)
            report.tell(bar, f"{drop} forgotten")
        task = bar.add_task("describing", total=None)

        def progressed(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        added, done = add_descriptors(
            settings, opened, folders, progressed, from_thumbnails=from_thumbnails
        )
    if not added:
        say("nothing to add: the library holds every descriptor that the settings name")
        return
    say(
        f"{', '.join(added)} added: {done.from_sources:,} pictures described from their sources, "
        f"{done.from_thumbnails:,} from thumbnails"
    )


def info(library: LibraryDir = None, home: Home = None) -> None:
    """Say what the library holds."""
    from ui.settings import load_settings
    from ui.wiring import open_library

    with open_library(load_settings(home=home, library=library)) as opened:
        for key, value in opened.describe().items():
            print(f"{key:12} {_plain(value)}")


def search(
    image: Annotated[Path, typer.Argument(readable=False, help="An image file.")],
    count: Annotated[int, typer.Option("-k", min=1, max=1000, help="References to list.")] = 10,
    json_to: Json = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """List the references nearest to a picture, whether close or not."""
    from ui.settings import load_settings
    from ui.wiring import nearest, open_library

    require_places(json_to)
    settings = load_settings(home=home, library=library, policy=policy)
    with open_library(settings) as opened:
        rows = nearest(settings, opened, image, count)
    if json_to != "-":
        for row in rows:
            closeness = "  ".join(f"{n} {v:.3f}" for n, v in row["similarity"].items())
            print(f"{row['score']:.3f}  {row['title'] or row['uri']}  {closeness}")
    write_json(rows, json_to)


def remove(
    uris: Annotated[list[str] | None, typer.Argument(help="URIs or paths of references.")] = None,
    source: Annotated[str | None, typer.Option(help="Remove all of this source.")] = None,
    library: LibraryDir = None,
    home: Home = None,
) -> None:
    """Remove references from the library."""
    from ui.settings import load_settings
    from ui.wiring import open_library

    if not uris and source is None:
        raise UsageError("say what to remove: URIs, or --source NAME")
    unknown = []
    with open_library(load_settings(home=home, library=library)) as opened:
        removed = opened.remove(source=source) if source is not None else 0
        if source is not None and not removed:
            unknown.append(f"source {source}")
        for uri in uris or []:
            gone = opened.remove(uri=uri) or opened.remove(uri=_uri(Path(uri)))
            removed += gone
            if not gone:
                unknown.append(uri)
        say(f"{removed} removed, {len(opened):,} references left")
        opened.build()
    if unknown:
        raise UsageError(f"not in the library: {', '.join(unknown)}")


def calibrate(
    unrelated: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of pictures that are not of the library, nor made from it."),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Of the library itself, with fewer than 200 unrelated.")
    ] = 1000,
    report_to: Report = None,
    workers: Workers = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Measure how close unrelated pictures come, so that the policy's rates hold here."""
    from ui import calibration, report
    from ui.settings import load_settings
    from ui.wiring import factory, make_checker, open_library

    require_places(report_to)
    settings = load_settings(home=home, library=library, policy=policy, workers=workers)
    files = image_files_of(unrelated or [])
    with open_library(settings) as opened, report.progress() as bar:
        task = bar.add_task("asking", total=None)
        outcome = calibration.run(
            opened,
            make_checker(settings, opened),
            factory(settings),
            files,
            count=pictures,
            workers=settings.workers,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        if report_to:
            report.write_calibration(outcome, report_to)
    for row in outcome.rows():
        print(calibration.line(row))
    held = outcome.measured.calibration
    say(
        f"calibrated at {held.references:,} references by {held.pictures:,} pictures; "
        f"{held.related:,} of them resemble a reference, which was set aside"
    )


def verify(library: LibraryDir = None, home: Home = None) -> None:
    """Check the library's files against each other and against their checksums."""
    from ui.settings import load_settings
    from ui.wiring import open_library

    with open_library(load_settings(home=home, library=library)) as opened:
        problems = opened.verify()
    for problem in problems:
        print(problem)
    if problems:
        raise CheckError(f"{len(problems)} problems found")
    print("the library is sound")


def _uri(path: Path) -> str:
    """As a folder's references are named: a link by its own name."""
    return (path.parent.resolve() / path.name).as_uri()


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
