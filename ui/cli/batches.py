"""The command that paints a file of jobs."""

import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance.errors import UsageError
from ui.cli.options import (
    AtOnce,
    Attention,
    Compile,
    Config,
    Device,
    Dtype,
    Embedding,
    Format,
    Home,
    Json,
    LabelProfile,
    LibraryDir,
    Loras,
    Model,
    Offload,
    PolicyFile,
    Preset,
    Quality,
    Retries,
    Styles,
    UnsafePickle,
    Vae,
    WatchMode,
    Weights,
    exit_code,
    require_places,
    say,
    stated,
    write_json,
)

if TYPE_CHECKING:
    from gen.batch import Hands, Journal, Outcome, Task
    from gen.jobs import Job
    from index.library import Library
    from ui.pages import Thumbnails
    from ui.settings import Settings

STOPPED = 130  # what shells say of a command that Ctrl-C ended
_WINDOW = 100  # pictures over which the pace is told


def batch(
    jobs: Annotated[Path, typer.Argument(help="A .txt, .csv or .jsonl file, a job a line.")],
    out: Annotated[Path, typer.Option(help="Folder for the clear pictures and the journal.")],
    name: Annotated[
        str,
        typer.Option(
            help="Names of the files, from {job}, {seed}, {prompt}, {model}, {sampler}, {steps}, "
            "{guidance}, {width}, {height}, {date}; numbers may have a width."
        ),
    ] = "{job:05}-{seed}",
    max_errors: Annotated[
        int | None,
        typer.Option(
            min=1, help="End after so many jobs that fail [default: after three in a row]."
        ),
    ] = None,
    retries: Retries = 0,
    model: Model = None,
    config: Config = None,
    lora: Loras = None,
    vae: Vae = None,
    embedding: Embedding = None,
    unsafe_pickle: UnsafePickle = False,
    device: Device = None,
    dtype: Dtype = None,
    offload: Offload = None,
    at_once: AtOnce = None,
    compiled: Compile = None,
    attention: Attention = None,
    weights: Weights = None,
    preset: Preset = None,
    watch: WatchMode = None,
    style: Styles = None,
    label: LabelProfile = None,
    format: Format = None,
    quality: Quality = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Paint on a Ray cluster: HOST:PORT, `auto`, or `local` for this machine."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Workers on it [default: one for each GPU, else machine]."),
    ] = None,
    json_to: Json = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Paint a file of jobs; run it again to go on where it stopped.

    A .txt file has a prompt a line. Columns of .csv and fields of .jsonl are prompt, negative,
    seed, steps, guidance, sampler, scheduler, size (WxH or a preset) or width and height, loras
    (NAME:WEIGHT;NAME:WEIGHT), init, strength, and count, for several seeds; a line of .jsonl:
    {"prompt": "a fox", "size": "portrait", "loras": ["ink:0.8"], "count": 4}

    Beside the pictures come contact-sheet.html, with the clear ones, and evidence.html, with what
    is known of the others. A job that fails is an error on that page and in --json, and is tried
    again by the next run; the exit code is 3. Ctrl-C ends with whole files and pages, and code 130.
    """
    from gen.batch import JOURNAL, Journal, plan, run
    from gen.names import check_template
    from ui import report
    from ui.pages import EVIDENCE, Thumbnails, sheet_name, withdraw, write_pages
    from ui.settings import load_settings
    from ui.wiring import batch_basis, open_library

    require_places(json_to, folder=out)
    if json_to and Path(json_to).resolve() in ((out / JOURNAL).resolve(), jobs.resolve()):
        raise UsageError(f"{json_to} is the batch's own file; give --json another name")
    settings = load_settings(
        home=home, library=library, policy=policy, model=model, config=config, vae=vae,
        embeddings=embedding, unsafe_pickle=unsafe_pickle, label=label, format=format,
        quality=quality, watch=watch,
        engine=stated(
            device=device, dtype=dtype, offload=offload, batch=at_once, compile=compiled,
            attention=attention, weights=weights, preset=preset,
        ),
    )  # fmt: skip
    check_template(name)
    todo = _dressed(jobs, settings, lora or [], style or [])
    with open_library(settings) as opened, ExitStack() as stack:
        with report.batch_progress() as bar:
            bar.add_task("loading the model", total=None, pace="")
            hands = stack.enter_context(_hands(settings, opened, ray, workers))
            basis = batch_basis(settings, opened)
            tasks = plan(todo, hands, basis=basis, go_on=max_errors is not None)
        journal = stack.enter_context(Journal(out))
        if count := journal.outdated(tasks):
            why = "checked by another library or policy, or labelled in another way"
            say(f"{count:,} were {why}: made and checked again", "-")
            withdraw(out)
        if count := journal.strays(tasks):
            say(f"{count:,} pictures in {out} are of jobs that {jobs.name} has no more: not "
                "checked again, and on no page", "-")  # fmt: skip
        running = run(tasks, hands, journal, name=name, retries=retries, max_errors=max_errors)
        thumbnails = Thumbnails(out)
        stopped = _watched(running, tasks, journal, thumbnails, json_to)
        rows = journal.outcomes(tasks)
        write_pages(rows, out, opened, thumbnails, title=f"Batch {jobs.name}")
    write_json(rows, json_to)
    say(report.summary(rows), json_to)
    say(f"see {out / sheet_name(1)} and {out / EVIDENCE}", json_to)
    if left := sum(not journal.settled(task) for task in tasks):
        say(f"left to do: {left:,}; give the same command again to go on", json_to)
    raise typer.Exit(STOPPED if stopped else exit_code(rows))


def _dressed(
    jobs: Path, settings: "Settings", loras: Sequence[str], styles: Sequence[str]
) -> "list[Job]":
    """The file's jobs with the command's own LoRAs and styles."""
    from gen.expand import expanded, styled
    from gen.jobs import parse_lora, read_jobs

    added = tuple(map(parse_lora, loras))
    found = []
    for job in read_jobs(jobs, settings.wildcards):
        recipe = job.recipe.with_changes(loras=(*job.recipe.loras, *added))
        if styles:
            recipe = expanded(styled(recipe, styles, settings.styles), settings.wildcards)
        found.append(replace(job, recipe=recipe))
    return found


@contextmanager
def _hands(
    settings: "Settings", library: "Library", address: str | None, workers: int | None
) -> "Iterator[Hands]":
    from gen.batch import Here
    from ui.wiring import make_checker, make_studio, worker_studio

    if address is None:
        if workers is not None:
            raise UsageError("--workers goes with --ray")
        yield Here(make_studio(settings, make_checker(settings, library)))
        return
    from gen.farm import Farm

    with Farm(address, partial(worker_studio, settings, Path.cwd()), workers) as farm:
        yield farm


def _watched(
    running: "Iterator[Outcome]",
    tasks: "Sequence[Task]",
    journal: "Journal",
    thumbnails: "Thumbnails",
    json_to: str | None,
) -> bool:
    """Tells each outcome as it comes; whether Ctrl-C or a polite kill ended it."""
    from ui import report
    from ui.evidence import status

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    counts = Counter(map(status, journal.outcomes(tasks)))
    done = sum(map(journal.settled, tasks))
    moments = deque([time.monotonic()], _WINDOW)
    try:
        with report.batch_progress() as bar:
            task = bar.add_task("painting", total=len(tasks), completed=done, pace="")
            for row in running:
                if row["file"]:
                    thumbnails.of(Path(row["file"]).name)
                moments.append(time.monotonic())
                counts[status(row)] += 1
                done += not row["error"]
                told = report.pace(moments, len(tasks) - done, counts)
                report.tell(bar, f"{row['job']:>5} {report.line(row)}", json_to)
                bar.update(task, completed=done, pace=told)
    except KeyboardInterrupt:
        journal.read_again()
        return True
    finally:
        signal.signal(signal.SIGTERM, before)
    return False
