"""Settings: one TOML file in the home folder, then the environment, then the command's options."""

import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gen.devices import Engine
from provenance.errors import UsageError
from provenance.files import given_path
from provenance.verdict import DEFAULT_POLICY

FILE = "settings.toml"
WATCH = ("auto", "always", "off")
_TEXTS = {
    "model", "vae", "label", "format", "provider",
    "device", "dtype", "offload", "attention", "weights", "preset", "watch",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What is used where a command says nothing else. Paths are absolute.

    `descriptors` are those beside the product's own, in the words of `provenance.embed.named`.
    `config` is the configuration of a `model` that is a single file; `vae` and `embeddings` go
    with the model.

    `label` names a profile of `provenance.label.profiles`; `visible_label` switches its visible
    label on or off, `mark` the invisible one. `format` and `quality` are those of saved pictures,
    `provider` offers them. `watch` says at what early looks are taken while painting: at unusual
    prompts (auto), always, or off. Pictures are signed with the home's own key, or with
    `signing_key` and `signing_chain`; `trust` are certificates of signers that are believed. From
    `device` on they are those of `gen.devices.Engine`.
    """

    home: Path
    library: Path
    policy: Path
    model: str
    workers: int
    descriptors: tuple[str, ...] = ()
    config: Path | None = None
    vae: str | None = None
    embeddings: tuple[str, ...] = ()
    unsafe_pickle: bool = False
    label: str = "eu"
    format: str = "png"
    quality: int = 95
    visible_label: bool | None = None
    label_prompt: bool = False
    mark: bool = False
    provider: str = "Firsthand"
    watch: str = WATCH[0]
    signing_key: Path | None = None
    signing_chain: Path | None = None
    timestamp_authority: str | None = None
    trust: Path | None = None
    device: str | None = None
    dtype: str | None = None
    offload: str | None = None
    batch: int | None = None
    compile: bool = False
    attention: str | None = None
    weights: str | None = None
    preset: str = "balanced"

    @property
    def engine(self) -> Engine:
        """How the model is run."""
        return Engine(**{field.name: getattr(self, field.name) for field in fields(Engine)})

    @property
    def review(self) -> Path:
        """Where pictures wait for a person's review."""
        return self.home / "review"

    @property
    def credentials(self) -> Path:
        """Where the home's own key for signing is."""
        return self.home / "credentials"

    @property
    def ledger(self) -> Path:
        """What was made here."""
        return self.home / "ledger.sqlite"

    @property
    def mark_key(self) -> Path:
        """The secret by which this home's marks are put on pictures and found again."""
        return self.home / "mark.key"

    @property
    def wildcards(self) -> Path:
        """NAME.txt for each `__NAME__` in prompts."""
        return self.home / "wildcards"

    @property
    def styles(self) -> Path:
        return self.home / "styles.csv"


def load_settings(
    *,
    home: Path | None = None,
    library: Path | None = None,
    policy: Path | None = None,
    model: str | None = None,
    workers: int | None = None,
    config: Path | None = None,
    vae: str | None = None,
    embeddings: Sequence[str] | None = None,
    unsafe_pickle: bool | None = None,
    label: str | None = None,
    format: str | None = None,
    quality: int | None = None,
    trust: Path | None = None,
    watch: str | None = None,
    engine: Mapping[str, Any] | None = None,
) -> Settings:
    """Options before environment (FIRSTHAND_NAME) before settings.toml before the defaults."""
    root = home or Path(os.environ.get("FIRSTHAND_HOME") or "~/.firsthand")
    root = given_path(root).absolute()
    settings = Settings(root, root / "library", DEFAULT_POLICY, "starter", os.cpu_count() or 1)
    settings = replace(settings, **_lasting(_from_file(root / FILE), root, root / FILE))
    environment = {
        field.name: value
        for field in fields(Settings)
        if field.name != "home" and (value := os.environ.get(f"FIRSTHAND_{field.name.upper()}"))
    }
    settings = replace(settings, **_lasting(environment, Path.cwd(), "the environment"))
    options = {
        "library": library, "policy": policy, "model": model, "workers": workers,
        "config": config, "vae": vae, "embeddings": embeddings and list(embeddings),
        "unsafe_pickle": unsafe_pickle or None, "label": label, "format": format,
        "quality": quality, "trust": trust, "watch": watch, **(engine or {}),
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    return replace(settings, **_checked(given, Path.cwd(), "the options"))


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _lasting(values: dict[str, Any], base: Path, origin: object) -> dict[str, Any]:
    """Those that hold for every command; that files may run code is said with each one."""
    if "unsafe_pickle" in values:
        raise UsageError(f"{origin}: give --unsafe-pickle with the command; it is no setting")
    return _checked(values, base, origin)


def _checked(values: dict[str, Any], base: Path, origin: object) -> dict[str, Any]:
    """The values in their fields' types; paths are taken from `base`."""
    known = {field.name for field in fields(Settings)} - {"home"}
    if unknown := sorted(values.keys() - known):
        raise UsageError(f"{origin}: unknown setting {unknown[0]!r}; known: {sorted(known)}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("workers", "quality", "batch"):
            if not str(value).isdecimal() or len(str(value)) > 9 or int(value) < 1:
                raise UsageError(f"{origin}: {name} is a number from 1, got {str(value)[:40]!r}")
            checked[name] = int(value)
        elif name == "descriptors":
            checked[name] = tuple(_placed(each, base) for each in _words(name, value, origin))
        elif name == "embeddings":
            checked[name] = tuple(_words(name, value, origin))
        elif name in ("unsafe_pickle", "compile", "visible_label", "label_prompt", "mark"):
            checked[name] = _yes_or_no(name, value, origin)
        elif name == "timestamp_authority":
            if not str(value).startswith(("http://", "https://")):
                raise UsageError(f"{origin}: {name} is an http(s) address, got {value!r}")
            checked[name] = str(value)
        elif name == "watch" and value not in WATCH:
            raise UsageError(f"{origin}: watch is one of {', '.join(WATCH)}, got {value!r}")
        elif name in _TEXTS:
            checked[name] = str(value)
        else:
            checked[name] = base / given_path(str(value))
    return checked


def _yes_or_no(name: str, value: object, origin: object) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if (text := str(value).lower()) not in words:
        raise UsageError(f"{origin}: {name} is true or false, got {value!r}")
    return words[text]


def _words(name: str, value: object, origin: object) -> list[str]:
    """A list of texts; or one text (the environment) with blanks between, quoted as in a shell."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(f"{origin}: {name} {value!r}: {error}") from None
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise UsageError(f"{origin}: {name} is a list of texts, got {value!r}")
    return words


def _placed(words: str, base: Path) -> str:
    """A descriptor's words with its file or folder, if that is what they name, from `base`."""
    kind, colon, place = words.partition(":")
    path = base / given_path(place)
    return f"{kind}:{path}" if colon and place and (kind == "sscd" or path.is_dir()) else words
