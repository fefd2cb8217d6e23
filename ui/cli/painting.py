"""The commands that paint: generate, serve, demo; and models."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    stated,
    write_json,
)

if TYPE_CHECKING:
    from gen.pipeline import Painter
    from provenance.label.labeller import Labelled
    from provenance.recipe import Recipe
    from ui.settings import Settings


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the pictures should show.")] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Repeat the recipe of this picture, of ours or another tool's, or .json; other "
            "options override single fields.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="Pictures.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the first [default: random].")] = None,
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
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WxH in pixels, or square, portrait, landscape, tall, wide.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Sampler by its usual name, such as `DPM++ 2M Karras`.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What they should not show.")] = None,
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
    """Paint pictures, check each, save those that are clear.

    With --from, as in `firsthand generate --from picture.png --seed 5 -n 4`, the file's model and
    LoRAs are looked for in the home's folders by their hashes, then by their names; what cannot be
    repeated is said. `--model` and `--lora` name others, `--lora none` leaves them out.
    """
    from gen.batch import sized
    from gen.jobs import parse_lora, parse_size
    from provenance.recipe import Recipe
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import make_checker, make_studio, open_library

    require_places(json_to, folder=out)
    settings = load_settings(
        home=home, library=library, policy=policy, model=model, config=config, vae=vae,
        embeddings=embedding, unsafe_pickle=unsafe_pickle, label=label, format=format,
        quality=quality, watch=watch,
        engine=stated(
            device=device, dtype=dtype, offload=offload, batch=at_once, compile=compiled,
            attention=attention, weights=weights, preset=preset,
        ),
    )  # fmt: skip
    pixels = parse_size(size) if size else None
    loras = None if lora is None else tuple(parse_lora(each) for each in lora if each != "none")
    given = stated(
        prompt=prompt, negative=negative, seed=seed, steps=steps, loras=loras, guidance=guidance,
        sampler=sampler, init=str(init) if init else None, strength=strength,
        width=pixels and pixels[0], height=pixels and pixels[1],
    )  # fmt: skip
    if from_file:
        asked = {**given, "model": model, "vae": vae, "embeddings": embedding}
        settings, recipe, notes = _told(from_file, settings, asked)
    elif prompt is None:
        raise UsageError("say what the pictures should show, or give --from FILE")
    else:
        recipe, notes = Recipe(prompt), []
    recipe = recipe.with_changes(**given)
    recipes = _worded(recipe, count, style or [], settings, plain=prompt is None)
    rows: list[dict[str, Any]] = []
    with open_library(settings) as opened, report.progress() as bar:
        task = bar.add_task("loading the model", total=None)
        studio = make_studio(settings, make_checker(settings, opened))
        bar.update(task, description="painting", total=count, completed=0)
        if from_file:
            recipes = _fitted(recipes, studio.painter, notes, given)
            for note in notes:
                report.remark(bar, f"not repeated: {note}")
        recipes = [sized(each, None if pixels else size, studio.painter) for each in recipes]

        def stepped(done: int, steps: int) -> None:
            at_once = min(studio.painter.batch, count - len(rows))
            bar.update(task, completed=len(rows) + at_once * done / steps)

        try:
            for made in studio.make(recipes, retries=retries, on_step=stepped):
                file = _save_new(out, made.recipe, made.picture) if made.picture else None
                row = {**made.to_json(), "path": file, "file": file}
                if from_file:
                    row |= {"from": str(from_file), "not_repeated": notes}
                rows.append(row)
                report.tell(bar, report.line(row), json_to)
        except BaseException:
            if rows:  # what has been saved is told, whatever ends this
                write_json(rows, json_to)
            raise
    write_json(rows, json_to)
    raise typer.Exit(exit_code(rows))


def models(context: typer.Context, json_to: Json = None, home: Home = None) -> None:
    """List what can be used here: models, LoRAs, VAEs, embeddings."""
    if context.invoked_subcommand:
        return
    from gen.models import STARTER, STARTER_FOLDER, WAYS
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import shelf

    require_places(json_to)
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


def usual(
    model: Model = None,
    config: Config = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Ordinary prompts, a line each [default: our own].")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Prompts.")] = 200,
    device: Device = None,
    home: Home = None,
) -> None:
    """Measure what difference prompts usually make to a model, one step each.

    Prompts that make more than 99 of 100 ordinary ones are looked at early while they are painted
    (--watch auto): a model knows by heart what a prompt decides from the first step on.
    """
    from gen.jobs import read_jobs
    from gen.usual import keep, measure, ordinary
    from ui import report
    from ui.settings import load_settings
    from ui.wiring import make_painter

    options = {"device": device} if device else {}
    settings = load_settings(home=home, model=model, config=config, engine=options)
    asked = [job.recipe.prompt for job in read_jobs(prompts)] if prompts else ordinary(count)
    with report.progress() as bar:
        task = bar.add_task("loading the model", total=None)
        painter = make_painter(settings)
        bar.update(task, description="measuring", total=len(asked))
        found = measure(painter, asked, lambda done: bar.update(task, completed=done))
    file = keep(found, settings.home)
    print(
        f"{found.model}: the first step of {found.prompts} prompts differs by {found.median:.3f} "
        f"in the median, {found.limit:.3f} at the upper 1 %"
    )
    print(f"kept in {file}")


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
    device: Device = None,
    dtype: Dtype = None,
    offload: Offload = None,
    at_once: AtOnce = None,
    compiled: Compile = None,
    attention: Attention = None,
    weights: Weights = None,
    preset: Preset = None,
    watch: WatchMode = None,
    library: LibraryDir = None,
    policy: PolicyFile = None,
    home: Home = None,
) -> None:
    """Open the web app."""
    from ui.server import serve as run
    from ui.settings import load_settings

    settings = load_settings(
        home=home, library=library, policy=policy, model=model, config=config, vae=vae,
        embeddings=embedding, unsafe_pickle=unsafe_pickle, label=label, format=format,
        quality=quality, watch=watch,
        engine=stated(
            device=device, dtype=dtype, offload=offload, batch=at_once, compile=compiled,
            attention=attention, weights=weights, preset=preset,
        ),
    )  # fmt: skip
    run(settings, host, port)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path(
        "firsthand-demo"
    ),
) -> None:
    """Show the whole path on the bundled gallery: generate, check, show."""
    from ui.demo import run

    require_places(folder=out)
    run(out)


def _told(
    file: Path, settings: "Settings", asked: Mapping[str, Any]
) -> "tuple[Settings, Recipe, list[str]]":
    """The file's recipe, the settings with what it is painted with, what is not repeated."""
    from gen.repeat import read_told, repeat
    from ui.wiring import shelf

    given = {name for name, value in asked.items() if value is not None}
    found = repeat(read_told(file), shelf(settings), settings.model, given)
    if found.model != settings.model:
        settings = replace(settings, model=found.model, config=None)
    vae, embeddings = found.vae, found.embeddings
    if "vae" in given or not (vae or found.complete):
        vae = settings.vae
    if "embeddings" in given or not found.complete:
        embeddings = tuple(dict.fromkeys((*settings.embeddings, *embeddings)))
    settings = replace(settings, vae=vae, embeddings=embeddings)
    return settings, found.recipe, list(found.not_repeated)


def _worded(
    recipe: "Recipe", count: int, styles: Sequence[str], settings: "Settings", *, plain: bool
) -> "list[Recipe]":
    """One for each picture; words that stand for others are chosen, unless they are `plain`."""
    from gen.expand import expanded, styled

    first = secrets.randbelow(2**32) if recipe.seed is None else recipe.seed
    recipe = styled(recipe.with_changes(seed=first).validated(), styles, settings.styles)
    each = [recipe.with_changes(seed=first + n) for n in range(count)]
    return each if plain else [expanded(one, settings.wildcards) for one in each]


def _fitted(
    recipes: "Sequence[Recipe]", painter: "Painter", notes: list[str], given: Mapping[str, Any]
) -> "list[Recipe]":
    """With the file's sampler by the model's names; what was not repeated is added to the notes."""
    from gen.repeat import fitted

    if "sampler" in given:
        recipes = [recipe.with_changes(scheduler=None) for recipe in recipes]
    fit = [fitted(recipe, painter, given) for recipe in recipes]
    notes += fit[0][1]
    return [recipe for recipe, _ in fit]


def _save_new(out: Path, recipe: "Recipe", picture: "Labelled") -> str:
    from gen.names import free, slug
    from provenance.files import write_whole

    stem = f"{slug(recipe.prompt) or 'picture'}-{recipe.seed}"
    path = free(out, stem, picture.suffix, Path.exists)
    write_whole(path, picture.data)
    return str(path)
