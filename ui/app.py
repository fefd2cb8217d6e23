"""The web app: a builder that receives its parts. Only a clear Generation gives it a picture."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from markupsafe import Markup

from gen.batch import sized
from gen.families import PRESETS
from gen.pipeline import DEFAULT_STRENGTH, Painter
from gen.studio import Preview, Studio
from provenance.errors import FirsthandError, UsageError
from provenance.files import write_whole
from provenance.label.labeller import Labelled
from provenance.match import Index
from provenance.recipe import MAX_SEED, Recipe
from ui import report

CSS = """
.decision { color: #fff; padding: .1rem .6rem; border-radius: 1rem; font-size: .85rem }
.decision.block { background: #c62828 } .decision.review { background: #b26a00 }
.evidence { border: 1px solid #8884; border-radius: 8px; padding: .8rem; margin: .5rem 0 }
.evidence .row { display: flex; gap: 1rem; flex-wrap: wrap }
.evidence figure { margin: 0; width: 200px }
.evidence figure img, .evidence .withheld { width: 200px; height: 200px; object-fit: contain }
.evidence figcaption { font-size: .8rem; overflow-wrap: anywhere }
"""
MOST_PICTURES = 16  # a click
_MOST_RETRIES = 5
_CLEANED = 24 * 60 * 60  # seconds that Gradio's copies of pictures are kept
_Shown = tuple[list[Any], str, str, list[str]]
"""What goes into gallery, evidence and status, and which files are shown."""


def create_app(studio: Studio, index: Index, pictures: Path) -> gr.Blocks:
    """The page: generate with progress, a gallery of what passed, evidence on what did not.

    Clear pictures are kept in the folder `pictures`.
    """
    usual = studio.painter.complete(Recipe("a picture", seed=0))
    page = gr.Blocks(title="Firsthand", analytics_enabled=False, delete_cache=(_CLEANED, _CLEANED))
    with page:
        gr.Markdown("# Firsthand\nGenerate, check, show: in that order.")
        with gr.Row():
            with gr.Column(scale=2):
                inputs = _inputs(usual, studio.watches)
                with gr.Row():
                    button = gr.Button("Generate", variant="primary", elem_id="generate", scale=3)
                    stop = gr.Button("Stop", elem_id="stop", scale=1)
                status = gr.HTML(partial(_library_line, index), elem_id="status")
                inputs += _further_inputs(studio.painter, usual)
                _say_what_is_wrong(inputs)
            with gr.Column(scale=3):
                gallery = gr.Gallery(
                    label="Clear",
                    columns=3,
                    object_fit="contain",
                    interactive=False,
                    elem_id="gallery",
                )
                evidence = gr.HTML(elem_id="evidence")
        shown = gr.State([])
        outputs = [gallery, evidence, status, shown]
        paint, end = _painting(studio, index, pictures)
        gr.on(
            [button.click, inputs[0].submit],
            paint,
            [*inputs, shown],
            outputs,
            concurrency_limit=1,  # one painter
            api_name="generate",
            show_progress_on=[gallery],
        )
        stop.click(end, queue=False, show_progress="hidden", api_visibility="private")
        page.unload(end)  # the tab was closed
    return page


class _Ended(Exception):
    """Nobody waits any more for what is being painted."""


def _painting(
    studio: Studio, index: Index, pictures: Path
) -> tuple[Callable[..., Iterator[_Shown]], Callable[[gr.Request], None]]:
    """What the buttons do: one that paints, and one that ends at the next step what a session has
    painted. The first one's arguments are the inputs in their order, then what is shown."""
    waited_for: dict[str, Event] = {}  # sessions, by their hashes, and whether they have ended it

    def paint(
        prompt: str,
        negative: str = "",
        count: float = 1,
        seed: float | None = -1,
        steps: float | None = None,
        guidance: float | None = None,
        retries: float = 0,
        previews: bool = False,
        size: str = "",
        sampler: str = "",
        init: str | None = None,
        strength: float = DEFAULT_STRENGTH,
        shown: Sequence[str] = (),
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        request: gr.Request | None = None,
    ) -> Iterator[_Shown]:
        with _told(), _waiting(waited_for, request) as ended:
            recipes = _recipes(
                studio, count, seed, size,
                prompt=prompt, negative=negative, steps=steps, guidance=guidance,
                sampler=sampler or None, init=init or None, strength=strength if init else None,
            )  # fmt: skip
            again = _whole("retries", retries, range(_MOST_RETRIES + 1))
            rows: list[dict[str, Any]] = []

            def stepped(done: int, steps: int) -> None:
                if ended.is_set():
                    raise _Ended
                progress((done, steps), desc=f"painting {len(rows) + 1} of {len(recipes)}")

            progress(0, desc="starting")
            made = studio.live(recipes, retries=again, on_step=stepped, previews=previews)
            with closing(made), _previews() as early, suppress(_Ended):
                for each in made:
                    preview: list[tuple[str, str]] = []
                    if isinstance(each, Preview):
                        file = _kept(each.picture, each.recipe.seed, early)
                        preview = [(file, f"step {each.step} of {each.recipe.steps}")]
                    else:
                        rows.append(each.to_json())
                        if each.picture:
                            shown = [_kept(each.picture, each.recipe.seed, pictures), *shown]
                    evidence = report.evidence_html(rows, index)
                    yield [*preview, *shown], evidence, _status(rows), list(shown)
            if len(rows) < len(recipes):
                status = "<br>".join(filter(None, (_status(rows), "stopped")))
                yield list(shown), report.evidence_html(rows, index), status, list(shown)

    def end(request: gr.Request) -> None:
        if request.session_hash in waited_for:
            waited_for[request.session_hash].set()

    return paint, end


@contextmanager
def _waiting(waited_for: dict[str, Event], request: gr.Request | None) -> Iterator[Event]:
    """An event that is set when this session waits no longer."""
    session, ended = str(request.session_hash) if request else "", Event()
    waited_for[session] = ended
    try:
        yield ended
    finally:
        if waited_for.get(session) is ended:
            del waited_for[session]


def _recipes(studio: Studio, count: Any, seed: Any, size: Any, **given: Any) -> list[Recipe]:
    """So many, of seeds that follow each other, from what a client has sent."""
    if not isinstance(size, str):
        raise UsageError(f"size must be the name of a preset, got {size!r}")
    wanted = _whole("pictures", count, range(1, MOST_PICTURES + 1))
    drawn = seed is None or (isinstance(seed, int | float) and seed < 0)
    recipe = Recipe.from_json({**given, "seed": secrets.randbelow(2**32) if drawn else seed})
    recipe = sized(recipe, size or None, studio.painter)
    seeds = ((int(recipe.seed or 0) + n) % (MAX_SEED + 1) for n in range(wanted))
    return [recipe.with_changes(seed=each) for each in seeds]


def _whole(name: str, value: Any, allowed: range) -> int:
    if value not in allowed:
        raise UsageError(
            f"{name} must be a whole number from {allowed[0]} to {allowed[-1]}, got {value!r}"
        )
    return int(value)


@contextmanager
def _previews() -> Iterator[Path]:
    """A folder of Gradio's own, for as long as painting lasts: previews are no clear pictures."""
    uploads = Path(get_upload_folder())
    uploads.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=uploads) as folder:
        yield Path(folder)


def _inputs(usual: Recipe, watches: bool) -> list[Any]:
    """What is always seen, in the order of the painting function's arguments."""
    prompt = gr.Textbox(
        label="Prompt",
        lines=2,
        placeholder="a fox in the snow at night",
        elem_id="prompt",
    )
    negative = gr.Textbox("", label="Negative prompt", elem_id="negative")
    with gr.Row():
        count = gr.Slider(1, MOST_PICTURES, 1, step=1, label="Pictures", elem_id="count")
        seed = gr.Number(-1, label="Seed (-1: random)", precision=0, minimum=-1, elem_id="seed")
    with gr.Row():
        most = max(60, usual.steps or 0), max(12.0, usual.guidance or 0)
        steps = gr.Slider(1, most[0], usual.steps, step=1, label="Steps", elem_id="steps")
        guidance = gr.Slider(
            0, most[1], usual.guidance, step=0.5, label="Guidance", elem_id="guidance"
        )
        retries = gr.Slider(0, _MOST_RETRIES, 0, step=1, label="Retries", elem_id="retries")
    previews = gr.Checkbox(
        False,
        label="Previews",
        info="What a picture is going to be like, if an early look finds it clear.",
        visible=watches,
        elem_id="previews",
    )
    return [prompt, negative, count, seed, steps, guidance, retries, previews]


def _further_inputs(painter: Painter, usual: Recipe) -> list[Any]:
    """What is seen when it is asked for, in that order too."""
    with gr.Accordion("Size, sampler, a picture to begin with", open=False):
        size = gr.Dropdown(_sizes(painter, usual), value="", label="Size", elem_id="size")
        sampler = gr.Dropdown(
            [(f"{usual.sampler} (the model's own)", ""), *painter.samplers],
            value="",
            label="Sampler",
            elem_id="sampler",
        )
        init = gr.Image(
            type="filepath",
            image_mode=None,  # the file as it is, with its credentials
            sources=["upload", "clipboard"],
            label="Begin with",
            elem_id="init",
        )
        _take_uploads_only(init)
        strength = gr.Slider(
            0,
            1,
            DEFAULT_STRENGTH,
            step=0.05,
            label="Strength",
            info="How much of that picture is painted anew.",
            elem_id="strength",
        )
    return [size, sampler, init, strength]


def _take_uploads_only(picture: gr.Image) -> None:
    """No other file of this machine, nothing from the network.

    Gradio itself takes any path that a client names without saying that it is an upload. (Not in a
    class of its own: beside the module of such a class Gradio writes a stub.)
    """
    fetch = picture.async_move_resource_to_block_cache

    def uploaded(payload: Any) -> str | None:
        """Its path alone: Gradio's own would have Pillow open it, whatever it is."""
        if payload is None:
            return None
        uploads = Path(get_upload_folder()).resolve()
        if not Path(payload.path or "").resolve().is_relative_to(uploads):
            raise gr.Error("give the picture as an upload")
        return str(payload.path)

    async def fetched(place: Any) -> Any:
        if str(place).lower().startswith(("http:", "https:")):
            raise gr.Error("give the picture as an upload, not as an address")
        return await fetch(place)

    setattr(picture, "preprocess", uploaded)  # noqa: B010
    setattr(picture, "async_move_resource_to_block_cache", fetched)  # noqa: B010


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong in here is told on the page."""
    try:
        yield
    except FirsthandError as error:
        raise _no_picture(str(error)) from error
    except OSError as error:  # a full disk, a folder that may not be written to
        raise _no_picture(f"{error.strerror or error}: {error.filename}") from error
    except Exception as error:  # of any library below
        raise _no_picture(f"{type(error).__name__}: {error}") from error


def _no_picture(why: str) -> gr.Error:
    return gr.Error(why, title="No picture", duration=None)


def _say_what_is_wrong(inputs: Sequence[gr.components.Component]) -> None:
    """Clients send what the page would not; Gradio's components fail at it in their own ways."""

    def told(take: Callable[[Any], Any], label: str, payload: Any) -> Any:
        try:
            return take(payload)
        except gr.Error:
            raise
        except Exception as error:
            raise _no_picture(f"{label}: this cannot be taken: {payload!r:.80}") from error

    for each in inputs:
        told_by = partial(told, each.preprocess, str(each.label))
        setattr(each, "preprocess", told_by)  # noqa: B010


def _sizes(painter: Painter, usual: Recipe) -> list[tuple[str, str]]:
    """The model's own size and its presets, as words and as values."""
    presets = [(name, sized(usual, name, painter)) for name in PRESETS]
    own = f"{usual.width} × {usual.height}"
    others = [(f"{name}, {made.width} × {made.height}", name) for name, made in presets]
    return [(own, ""), *(each for each in others if not each[0].endswith(f", {own}"))]


def _kept(picture: Labelled, seed: int | None, pictures: Path) -> str:
    """The signed file itself: the gallery serves it as it is, for display and for download."""
    path = pictures / f"{seed}-{secrets.token_hex(4)}{picture.suffix}"
    write_whole(path, picture.data)
    return str(path)


def _status(rows: list[dict[str, Any]]) -> str:
    """HTML, in which names of references are text."""
    line = Markup("<strong>{}</strong> · seed {}{}")
    return Markup("<br>").join(line.format(r["decision"], r["seed"], _why(r)) for r in rows)


def _why(row: dict[str, Any]) -> str:
    tried = f" · after {len(row['attempts'])} other seeds" if row["attempts"] else ""
    reasons = "; ".join(row["reasons"])
    return f"{tried} · {reasons}" if reasons else tried


def _library_line(index: Index) -> str:
    """HTML; of the library as it is when the page is opened."""
    try:
        known = len(index)
    except FirsthandError as error:
        return str(Markup("<strong>{}</strong>").format(error))
    if not known:
        return "<strong>The library is empty: pictures are compared with nothing.</strong>"
    return f"Every picture is compared with {known:,} known pictures before it is shown."
