"""The commands that paint: generate, batch, serve, demo; and models."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gen.families import PRESETS, preset
from provenance.errors import UsageError
from ui.cli.options import (
    Config,
    Embedding,
    Format,
    Home,
    Json,
    LabelProfile,
    LibraryDir,
    Loras,
    Model,
    PolicyFile,
    Quality,
    Report,
    Retries,
    Styles,
    UnsafePickle,
    Vae,
    exit_code,
    say,
    write_json,
)


def generate(
    prompt: Annotated[str, typer.Argument(help="What the pictures should show.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="Pictures.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the first [default: random].")] = None,
    model: Model = None,
    config: Config = None,
    lora: Loras = None,
    vae: Vae = None,
    embedding: Embedding = None,
    unsafe_pickle: UnsafePickle = False,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WxH in pixels, or square, portrait, landscape, tall, wide.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Sampler by its usual name, such as `DPM++ 2M Karras`.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What they should not show.")] = "",
    style: Styles = None,
    init: Annotated[Path | None, typer.Option(help="Picture to begin with.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How much of --init is painted anew, 0 to 1.")
    ] = None,
    retries: Retries = 0,
    out: Annotated[Path, typer.Option(help="Folder for the clear pictures.")] = Path("pictures"),
    label: LabelProfile = None,
    format: Format = None,
    quality: Quality = None,
    json_to: Json = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Paint pictures, check each, save those that are clear."""
    from gen.expand import expanded, styled
    from provenance.recipe import Recipe
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import make_checker, make_studio, open_library

    settings = load_settings(
        home=home, library=library, policy=policy, model=model, config=config, vae=vae,
        embeddings=embedding, unsafe_pickle=unsafe_pickle, label=label, format=format,
        quality=quality,
    )  # fmt: skip
    width, height = _size(size)
    first = secrets.randbelow(2**32) if seed is None else seed
    recipe = Recipe(
        prompt, negative, None, None, first, steps, guidance, sampler, None, width, height,
        _loras(lora or []), init=str(init) if init else None, strength=strength,
    ).validated()  # fmt: skip
    recipe = styled(recipe, style or [], settings.styles)
    recipes = [
        expanded(recipe.with_changes(seed=first + n), settings.wildcards) for n in range(count)
    ]
    rows: list[dict[str, Any]] = []
    with open_library(settings) as opened, report.progress() as bar:
        task = bar.add_task("loading the model", total=None)
        studio = make_studio(settings, make_checker(settings, opened))
        bar.update(task, description="painting", total=count, completed=0)
        recipes = [_sized(each, size, studio.painter) for each in recipes]

        def stepped(done: int, steps: int) -> None:
            bar.update(task, completed=len(rows) + done / steps)

        for made in studio.make(recipes, retries=retries, on_step=stepped):
            file = _save_new(out, made.recipe, made.picture) if made.picture else None
            row = {**made.to_json(), "path": file, "file": file}
            rows.append(row)
            report.tell(bar, report.line(row), json_to)
    write_json(rows, json_to)
    raise typer.Exit(exit_code(rows))


def batch(
    jobs: Annotated[Path, typer.Argument(help="A .txt, .csv or .jsonl file, a job a line.")],
    out: Annotated[Path, typer.Option(help="Folder for the clear pictures and the journal.")],
    retries: Retries = 0,
    model: Model = None,
    config: Config = None,
    lora: Loras = None,
    vae: Vae = None,
    embedding: Embedding = None,
    unsafe_pickle: UnsafePickle = False,
    style: Styles = None,
    label: LabelProfile = None,
    format: Format = None,
    quality: Quality = None,
    json_to: Json = None,
    report_to: Report = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Paint a file of jobs; run it again to go on where it stopped."""
    from gen.batch import Job, outcomes, read_jobs, run
    from gen.expand import styled
    from provenance.recipe import Recipe
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import make_checker, make_studio, open_library

    settings = load_settings(
        home=home, library=library, policy=policy, model=model, config=config, vae=vae,
        embeddings=embedding, unsafe_pickle=unsafe_pickle, label=label, format=format,
        quality=quality,
    )  # fmt: skip
    loras = _loras(lora or [])

    def dressed(recipe: Recipe) -> Recipe:
        recipe = recipe.with_changes(loras=(*recipe.loras, *loras))
        return styled(recipe, style or [], settings.styles)

    todo = [Job(job.number, dressed(job.recipe)) for job in read_jobs(jobs, settings.wildcards)]
    with open_library(settings) as opened, report.progress() as bar:
        task = bar.add_task("loading the model", total=None)
        studio = make_studio(settings, make_checker(settings, opened))
        done = len(outcomes(todo, out)) if out.is_dir() else 0
        bar.update(task, description="painting", total=len(todo), completed=done)
        for row in run(todo, studio, out, retries=retries):
            report.tell(bar, f"{row['job']:>5} {report.line(row)}", json_to)
            bar.advance(task)
        rows = outcomes(todo, out)
        if report_to:
            report.write_html(rows, report_to, opened, title=f"Batch {jobs.name}")
    say(report.summary(rows), json_to)
    write_json(rows, json_to)
    raise typer.Exit(exit_code(rows))


def models(json_to: Json = None, home: Home = None) -> None:
    """List what can be used here: models, LoRAs, VAEs, embeddings."""
    from gen.models import STARTER, STARTER_FOLDER, WAYS
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import shelf

    settings = load_settings(home=home)
    kept = shelf(settings)
    bundled = replace(kept.item("models", STARTER_FOLDER, STARTER), licence="Apache-2.0")
    items = [bundled, *kept.items()]
    if json_to != "-":
        for item in items:
            print(report.shelf_line(item))
        print(f"more: files and folders in {settings.home}/{{models,loras,vae,embeddings}}")
        print(f"--model: {WAYS}")
    write_json([item.to_json() for item in items], json_to)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    model: Model = None,
    config: Config = None,
    vae: Vae = None,
    embedding: Embedding = None,
    unsafe_pickle: UnsafePickle = False,
    label: LabelProfile = None,
    format: Format = None,
    quality: Quality = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Open the web app."""
    from ui.app import serve as run
    from ui.settings import load_settings

    settings = load_settings(
        home=home, library=library, policy=policy, model=model, config=config, vae=vae,
        embeddings=embedding, unsafe_pickle=unsafe_pickle, label=label, format=format,
        quality=quality,
    )  # fmt: skip
    run(settings, host, port)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path(
        "firsthand-demo"
    ),
) -> None:
    """Show the whole path on the bundled gallery: generate, check, show."""
    from ui.demo import run

    run(out)


def _size(text: str | None) -> tuple[int | None, int | None]:
    """A preset's name is left for when the model is known."""
    if text is None or text in PRESETS:
        return None, None
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(
            f"--size is WxH in pixels, such as 128x128, or one of {', '.join(PRESETS)}; "
            f"got {text!r}"
        )
    return int(width), int(height)


def _sized(recipe: Any, size: str | None, painter: Any) -> Any:
    if size not in PRESETS:
        return recipe
    side = painter.complete(recipe).width
    width, height = preset(painter.spec.pipeline, str(size), side)
    return recipe.with_changes(width=width, height=height)


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


def _save_new(out: Path, recipe: Any, picture: Any) -> str:
    from provenance.files import write_whole

    words = "".join(c if c.isalnum() else "-" for c in recipe.prompt.lower())[:40].strip("-")
    stem, suffix = f"{words or 'picture'}-{recipe.seed}", picture.suffix
    path = out / f"{stem}{suffix}"
    number = 1
    while path.exists():
        number += 1
        path = out / f"{stem}_{number}{suffix}"
    write_whole(path, picture.data)
    return str(path)
