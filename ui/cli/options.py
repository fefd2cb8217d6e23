"""What the commands have in common: options, exit codes, where their output goes."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

CLEAR, NOT_CLEAR, WRONG_USE, UNREADABLE, MISSING = range(5)

Home = Annotated[Path | None, typer.Option(help="Home folder [env: FIRSTHAND_HOME].")]
LibraryDir = Annotated[Path | None, typer.Option("--library", help="Library folder.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="Policy file (TOML).")]
Model = Annotated[
    str | None,
    typer.Option(help="`starter`, ORG/NAME[@REVISION], a diffusers folder or a .safetensors file."),
]
Config = Annotated[
    Path | None,
    typer.Option(help="Diffusers folder with the configuration of a model in a single file."),
]
Loras = Annotated[
    list[str] | None, typer.Option("--lora", help="LoRA, as FILE[:WEIGHT]; several may be given.")
]
Vae = Annotated[str | None, typer.Option(help="Another VAE: a file or a folder.")]
Embedding = Annotated[
    list[str] | None,
    typer.Option("--embedding", help="Textual inversion; its file's name becomes a word."),
]
UnsafePickle = Annotated[
    bool,
    typer.Option("--unsafe-pickle", help="Load .ckpt, .pt and .bin too: they can run code."),
]
Styles = Annotated[
    list[str] | None, typer.Option("--style", help="Style by its name in the home's styles.csv.")
]
LabelProfile = Annotated[
    str | None, typer.Option("--label", help="Labels that pictures get: eu, cn, us-ca or none.")
]
Format = Annotated[str | None, typer.Option(help="Pictures are saved as png, jpeg or webp.")]
Quality = Annotated[
    int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP [default: 95].")
]
Device = Annotated[
    str | None,
    typer.Option(help="cuda, cuda:1, npu, xpu, mps or cpu [default: the best there is]."),
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]
Offload = Annotated[
    str | None,
    typer.Option(help="none, model, group or sequential: the later, the less memory is needed."),
]
AtOnce = Annotated[int | None, typer.Option("--batch", min=1, help="Pictures painted at once.")]
Compile = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="Compile the model's repeated blocks."),
]
Attention = Annotated[str | None, typer.Option(help="Attention backend, by diffusers' name.")]
Weights = Annotated[str | None, typer.Option(help="Keep weights as fp8 or int8.")]
Preset = Annotated[str | None, typer.Option(help="fast, balanced or best.")]
WatchMode = Annotated[
    str | None,
    typer.Option(
        "--watch",
        help="Early looks while painting: auto (at unusual prompts), always or off.",
    ),
]
Json = Annotated[
    str | None, typer.Option("--json", help="Write JSON lines to this file; - is standard output.")
]
Report = Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write a CSV table to this file.")]
Fast = Annotated[bool, typer.Option("--fast", help="By pHash alone: as fast as pHash, finds less.")]
Groups = Annotated[
    bool,
    typer.Option(
        " /--no-groups",
        help="Do not look for near duplicates among the audited pictures, "
        "which takes a third of the time.",
    ),
]
Marks = Annotated[
    bool,
    typer.Option(
        "--marks",
        help="Look for marks in the pixels too, of whole pictures; `inspect` also finds "
        "this home's where edges were cut off.",
    ),
]
Retries = Annotated[
    int, typer.Option(min=0, max=100, help="Next seeds to try when a picture is not clear.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to read pictures with.")]


def image_files_of(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and every image under the folders that are named, each once.

    Raises UsageError for a path that is not there, and for a folder without pictures: none was
    looked at then, which is not what an exit code of 0 says.
    """
    from index.sources import image_files
    from provenance.errors import UsageError

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = image_files(path)
            if not found:
                raise UsageError(f"no pictures in {path}; name files, or a folder that has some")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UsageError(f"no such file or folder: {path}")
    once: dict[Path, Path] = {}
    for path in files:
        once.setdefault(path.parent.resolve() / path.name, path)
    return list(once.values())


def write_json(rows: Sequence[dict[str, Any]], target: str | None) -> None:
    from provenance.files import write_whole

    if target is None:
        return
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = text.encode("utf-8", "backslashreplace")  # file names need not be UTF-8
    if target == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_whole(Path(target), data)


def require_places(*files: Path | str | None, folder: Path | None = None) -> None:
    """Raises UsageError, before any work, for files that are folders, a folder that is a file."""
    from provenance.errors import UsageError

    for file in files:
        if file is not None and file != "-" and Path(file).is_dir():
            raise UsageError(f"{file} is a folder; give the name of a file")
    parents = [Path(file).parent for file in files if file is not None and file != "-"]
    for place in [*parents, *([folder] if folder else [])]:
        there = next(each for each in (place, *place.parents, Path()) if each.exists())
        if not there.is_dir():
            raise UsageError(f"{there} is a file; a folder is needed there")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UsageError(f"{there} cannot be written to; name another place")


@contextmanager
def goes_on() -> Iterator[None]:
    """Says of work that Ctrl-C or SIGTERM ends that the next run goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; give the same command again to go on", file=sys.stderr)
        raise


def exit_code(rows: Sequence[dict[str, Any]]) -> int:
    if any(row["error"] for row in rows):
        return UNREADABLE
    return NOT_CLEAR if any(row["decision"] != "clear" for row in rows) else CLEAR


def say(text: str, json_to: str | None = None) -> None:
    """A closing line: on standard output, unless the JSON lines go there."""
    print(text, file=sys.stderr if json_to == "-" else sys.stdout)


def stated(**options: Any) -> dict[str, Any]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}
