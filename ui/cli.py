"""The commands. Each reads its options, lets the rooms work, and says what came of it.

Exit codes: 0 all clear, 1 something is review or block, 2 wrong use, 3 some inputs could not be
read, 4 something is missing or the check cannot run; the worst wins, 2 and 4 before the rest.
"""

import json
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from provenance.errors import CheckError, DecodeError, FirsthandError, MissingError, UsageError

app = typer.Typer(
    name="firsthand",
    help="Text-to-image that shows no picture before it has been checked against known pictures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
library_app = typer.Typer(
    help="The library of known pictures.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(library_app, name="index")

CLEAR, NOT_CLEAR, WRONG_USE, UNREADABLE, MISSING = range(5)

Home = Annotated[Path | None, typer.Option(help="Home folder [env: FIRSTHAND_HOME].")]
LibraryDir = Annotated[Path | None, typer.Option("--library", help="Library folder.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="Policy file (TOML).")]
Json = Annotated[
    str | None, typer.Option("--json", help="Write JSON lines to this file; - is standard output.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to read pictures with.")]


def main() -> None:
    """Runs the command line; every expected error becomes one line and an exit code."""
    try:
        app()
    except UsageError as error:
        _fail(error, WRONG_USE)
    except DecodeError as error:
        _fail(error, UNREADABLE)
    except (MissingError, CheckError) as error:
        _fail(error, MISSING)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(NOT_CLEAR)


def _fail(error: FirsthandError, code: int) -> None:
    print(f"firsthand: {error}", file=sys.stderr)
    sys.exit(code)


@app.command(epilog='Example: firsthand generate "a fox in the snow at night" -n 4 --out pictures')
def generate(
    prompt: Annotated[str, typer.Argument(help="What the pictures should show.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="Pictures.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the first [default: random].")] = None,
    model: Annotated[str | None, typer.Option(help="`starter` or a diffusers folder.")] = None,
    lora: Annotated[list[str] | None, typer.Option(help="LoRA, as FILE[:WEIGHT].")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance.")] = None,
    size: Annotated[str | None, typer.Option(help="WxH in pixels.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Sampler by its usual name.")] = None,
    negative: Annotated[str, typer.Option(help="What they should not show.")] = "",
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Next seeds to try when a picture is not clear.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the clear pictures.")] = Path("pictures"),
    json_to: Json = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Paint pictures, check each, save those that are clear."""
    from provenance.recipe import Recipe
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import make_checker, make_studio, open_library

    settings = load_settings(home=home, library=library, policy=policy, model=model)
    width, height = _size(size)
    first = secrets.randbelow(2**32) if seed is None else seed
    recipe = Recipe(
        prompt, negative, None, None, first, steps, guidance, sampler, None, width, height,
        _loras(lora or []),
    ).validated()  # fmt: skip
    recipes = [recipe.with_changes(seed=first + n) for n in range(count)]
    rows: list[dict[str, Any]] = []
    with open_library(settings) as opened, report.progress() as bar:
        task = bar.add_task("loading the model", total=None)
        studio = make_studio(settings, make_checker(settings, opened))
        bar.update(task, description="painting", total=count, completed=0)

        def stepped(done: int, steps: int) -> None:
            bar.update(task, completed=len(rows) + done / steps)

        for made in studio.make(recipes, retries=retries, on_step=stepped):
            file = _save_new(out, made.recipe, made.png) if made.png else None
            row = {**made.to_json(), "path": file, "file": file}
            rows.append(row)
            bar.console.print(report.line(row))
    _write_json(rows, json_to)
    raise typer.Exit(_exit_code(rows))


@app.command(epilog="Example: firsthand batch jobs.csv --out pictures --json outcomes.jsonl")
def batch(
    jobs: Annotated[Path, typer.Argument(help="A .txt, .csv or .jsonl file, a job a line.")],
    out: Annotated[Path, typer.Option(help="Folder for the clear pictures and the journal.")],
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Next seeds to try when a picture is not clear.")
    ] = 0,
    model: Annotated[str | None, typer.Option(help="`starter` or a diffusers folder.")] = None,
    json_to: Json = None,
    report_to: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML report to this file.")
    ] = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Paint a file of jobs; run it again to go on where it stopped."""
    from gen.batch import outcomes, read_jobs, run
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import make_checker, make_studio, open_library

    settings = load_settings(home=home, library=library, policy=policy, model=model)
    todo = read_jobs(jobs)
    with open_library(settings) as opened, report.progress() as bar:
        task = bar.add_task("loading the model", total=None)
        studio = make_studio(settings, make_checker(settings, opened))
        done = len(outcomes(todo, out)) if out.is_dir() else 0
        bar.update(task, description="painting", total=len(todo), completed=done)
        for row in run(todo, studio, out, retries=retries):
            bar.console.print(f"{row['job']:>5} {report.line(row)}")
            bar.advance(task)
        rows = outcomes(todo, out)
        if report_to:
            report.write_html(rows, report_to, opened, title=f"Batch {jobs.name}")
    _say(report.summary(rows))
    _write_json(rows, json_to)
    raise typer.Exit(_exit_code(rows))


@app.command(epilog="Example: firsthand audit entries/ --report audit.html --json audit.jsonl")
def audit(
    paths: Annotated[list[Path], typer.Argument(help="Image files and folders.")],
    report_to: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML report to this file.")
    ] = None,
    json_to: Json = None,
    csv_to: Annotated[
        Path | None, typer.Option("--csv", help="Write a CSV table to this file.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Hashes only: faster, finds less.")] = False,
    workers: Workers = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Check every picture of a folder; run it again to go on where it stopped."""
    from provenance.audit import audit as run
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import audit_journal, factory, make_checker, open_library

    settings = load_settings(home=home, library=library, policy=policy, workers=workers)
    files = _image_files(paths)
    rows: list[dict[str, Any]] = []
    with open_library(settings) as opened, report.progress() as bar:
        checker = make_checker(settings, opened, fast=fast)
        task = bar.add_task("checking", total=len(files))
        with audit_journal(settings, files, checker) as journal:
            found = run(
                files, checker, factory(fast=fast), workers=settings.workers, journal=journal
            )
            for row in found:
                rows.append(row)
                bar.advance(task)
                if row["decision"] != "clear":
                    bar.console.print(report.line(row))
            if report_to:
                report.write_html(rows, report_to, opened, title="Audit")
            if csv_to:
                report.write_csv(rows, csv_to)
            _write_json(rows, json_to)
            journal.finished()
    _say(report.summary(rows))
    raise typer.Exit(_exit_code(rows))


@app.command(epilog="Example: firsthand check picture.png")
def check(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
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

    settings = load_settings(home=home, library=library, policy=policy)
    with open_library(settings) as opened:
        rows = []
        for row in run(images, make_checker(settings, opened), factory()):
            rows.append(row)
            if json_to != "-":
                report.output().print(report.details(row))
    _write_json(rows, json_to)
    raise typer.Exit(_exit_code(rows))


@app.command(epilog="Example: firsthand models")
def models() -> None:
    """List the models that can be used here."""
    from gen.models import STARTER, resolve

    spec = resolve(STARTER)
    print(f"{spec.name}  {spec.pipeline}  {spec.bytes / 2**20:.1f} MiB  {spec.hash[:10]}")
    print("or the path of a diffusers model folder: firsthand generate PROMPT --model FOLDER")


@app.command(epilog="Example: firsthand serve --port 7860")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    model: Annotated[str | None, typer.Option(help="`starter` or a diffusers folder.")] = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Open the web app."""
    from ui.app import serve as run
    from ui.settings import load_settings

    settings = load_settings(home=home, library=library, policy=policy, model=model)
    run(settings, host, port)


@app.command(epilog="Example: firsthand demo --out firsthand-demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path(
        "firsthand-demo"
    ),
) -> None:
    """Show the whole path on the bundled gallery: generate, check, show."""
    from ui.demo import run

    run(out)


@library_app.command("add", epilog="Example: firsthand index add known/ --name gallery")
def index_add(
    sources: Annotated[list[Path], typer.Argument(help="Folders of images, or image files.")],
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
    with make_library(settings) as opened, report.progress() as bar:
        for source in folders:
            task = bar.add_task(f"indexing {source.name}", total=None)

            def progressed(tally: Tally, total: int, task: Any = task) -> None:
                bar.update(task, completed=tally.done, total=total)

            tally = ingest(
                source,
                opened,
                factory(),
                workers=settings.workers,
                thumbnails=thumbnails,
                on_progress=progressed,
            )
            for uri, why in tally.unreadable:
                bar.console.print(f"unreadable  {uri}: {why}", markup=False, soft_wrap=True)
                code = UNREADABLE
            bar.console.print(
                f"{source.name}: {tally.added} added, {tally.already_there} already there, "
                f"{len(tally.unreadable)} unreadable"
            )
        _say(f"{len(opened):,} references in {settings.library}")
    raise typer.Exit(code)


@library_app.command("info", epilog="Example: firsthand index info --library known.lib")
def index_info(library: LibraryDir = None, home: Home = None) -> None:
    """Say what the library holds."""
    from ui.settings import load_settings
    from ui.wiring import open_library

    with open_library(load_settings(home=home, library=library)) as opened:
        for key, value in opened.describe().items():
            print(f"{key:12} {_plain(value)}")


@library_app.command("search", epilog="Example: firsthand index search picture.png -k 5")
def index_search(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    count: Annotated[int, typer.Option("-k", min=1, max=1000, help="References to list.")] = 10,
    json_to: Json = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """List the references nearest to a picture, whether close or not."""
    from ui.settings import load_settings
    from ui.wiring import nearest, open_library

    settings = load_settings(home=home, library=library, policy=policy)
    with open_library(settings) as opened:
        rows = nearest(settings, opened, image, count)
    if json_to != "-":
        for row in rows:
            closeness = "  ".join(f"{n} {v:.3f}" for n, v in row["similarity"].items())
            print(f"{row['score']:.3f}  {row['title'] or row['uri']}  {closeness}")
    _write_json(rows, json_to)


@library_app.command("remove", epilog="Example: firsthand index remove --source gallery")
def index_remove(
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
        for uri in uris or []:
            gone = opened.remove(uri=uri) or opened.remove(uri=Path(uri).resolve().as_uri())
            removed += gone
            if not gone:
                unknown.append(uri)
        _say(f"{removed} removed, {len(opened):,} references left")
    if unknown:
        raise UsageError(f"not in the library: {', '.join(unknown)}")


@library_app.command("verify", epilog="Example: firsthand index verify")
def index_verify(library: LibraryDir = None, home: Home = None) -> None:
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


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size is WxH in pixels, such as 128x128; got {text!r}")
    return int(width), int(height)


def _loras(texts: Sequence[str]) -> tuple[Any, ...]:
    from provenance.recipe import Lora

    loras = []
    for text in texts:
        name, colon, weight = text.rpartition(":")
        try:
            loras.append(Lora(name, float(weight)) if colon else Lora(text))
        except ValueError:
            raise UsageError(f"--lora is FILE[:WEIGHT]; got {text!r}") from None
    return tuple(loras)


def _image_files(paths: Iterable[Path]) -> list[Path]:
    from index.sources import image_files

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += image_files(path)
        elif path.exists():
            files.append(path)
        else:
            raise UsageError(f"no such file or folder: {path}")
    return list(dict.fromkeys(files))


def _save_new(out: Path, recipe: Any, png: bytes) -> str:
    from provenance.files import write_whole

    words = "".join(c if c.isalnum() else "-" for c in recipe.prompt.lower())[:40].strip("-")
    path = out / f"{words or 'picture'}-{recipe.seed}.png"
    number = 1
    while path.exists():
        number += 1
        path = out / f"{words or 'picture'}-{recipe.seed}_{number}.png"
    write_whole(path, png)
    return str(path)


def _write_json(rows: Sequence[dict[str, Any]], target: str | None) -> None:
    from provenance.files import write_whole

    if target is None:
        return
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if target == "-":
        sys.stdout.write(text)
    else:
        write_whole(Path(target), text.encode())


def _exit_code(rows: Sequence[dict[str, Any]]) -> int:
    if any(row["error"] for row in rows):
        return UNREADABLE
    return NOT_CLEAR if any(row["decision"] != "clear" for row in rows) else CLEAR


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
