"""What a file says about itself → one readable page for the terminal.

Everything shown was written by others: no control character of theirs reaches the terminal.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from rich.text import Text

from provenance.label.authority import Credential
from provenance.read.found import object_of
from ui.evidence import Row

NO_TIMESTAMPS = "none: no network is used; signatures are believed until the signer expires"
_STRENGTH = {"claimed": "yellow", "signed": "green", "measured": "cyan"}
_LONG = 600  # characters of one value that are shown
_SHOWN = 40  # claims
_MATCHES = 5
_FIELDS = ("prompt", "negative", "model", "model_hash", "seed", "steps", "guidance", "sampler",
           "scheduler")  # fmt: skip
_CREDENTIALS = {
    "none": "none in this file, which says nothing about how it was made",
    "trusted": "intact, signed by",
    "unknown-signer": "intact since it was signed; by whom is not known",
    "expired-signer": "intact, but the signer's certificate has expired: by whom is not known",
    "broken": "BROKEN: the file is not what was signed",
    "unreadable": "damaged: they cannot be read",
    "remote-only": "not in the file; it points to a server, which was not asked",
}


def page(row: Row) -> Text:
    """All of one inspection."""
    text = Text()
    text.append(clean(row["path"]), "bold").append(f"  {_file(row)}\n")
    if row["error"]:
        text.append(f"  could not be read: {clean(row['error'])}\n", "magenta")
    for name, value, style in _lines(row):
        text.append(f"  {name:12} ", "dim").append(f"{value}\n", style)
    if not (row["claims"] or row["recipe"]):
        text.append("  says nothing about itself, which proves nothing\n", "dim")
    return text


def signing(held: Credential, place: Path) -> Iterator[str]:
    """What pictures are signed with, a line for each fact."""
    root = held.certificates[-1]
    until = f"{root.not_valid_after_utc:%Y-%m-%d}"
    days = (held.expires - datetime.now(UTC)).days
    yield f"signer      {clean(held.name)} ({held.algorithm}), from {place}"
    yield f"expires     {held.expires:%Y-%m-%d}, in {days:,} days"
    yield f"authority   {clean(root.subject.rfc4514_string())}, until {until}"
    yield f"SHA-256     {root.fingerprint(SHA256()).hex(':')}"
    yield f"timestamps  {clean(held.timestamp_authority or NO_TIMESTAMPS)}"


def _lines(row: Row) -> Iterator[tuple[str, str, str]]:
    """(name, value, style) of each line of the page."""
    if made := row["made_by"]:
        yield "made by", f"{clean(made['tool'])} {clean(made['version'] or '')}".strip(), ""
    if recipe := row["recipe"]:
        yield from ((name, value, "") for name, value in _recipe(recipe))
    for claim in row["claims"][:_SHOWN]:
        said = f"{claim['what']}: {clean(claim['value'])} ({clean(claim['source'])})"
        yield claim["strength"], said, _STRENGTH[claim["strength"]]
    if len(row["claims"]) > _SHOWN:
        yield "", f"... and {len(row['claims']) - _SHOWN:,} more: --json has them", "dim"
    for each in row["disagreements"]:
        values = " | ".join(f"{clean(v['value'])} ({clean(v['source'])})" for v in each["values"])
        yield "disagree", f"{each['what']}: {values}", "red"
    for parent in row["parents"][:_SHOWN]:
        yield "made from", f"{clean(parent['uri'])} ({clean(parent['why'])})", ""
    for place in row["unread"]:
        yield "not read", f"{clean(place)}: too large", "magenta"
    for mark in row["marks"]:
        luck = f", chance {mark['chance']:.1g}" if "chance" in mark else ""
        yield "measured", f"{_mark(mark)} ({mark['source']}{luck})", "cyan"
    if held := row["credentials"]:
        style = {"trusted": "green", "broken": "red"}.get(held["outcome"], "dim")
        signer = clean(held["signer"] or "")
        yield "credentials", f"{_CREDENTIALS[held['outcome']]} {signer}".strip(), style
        if said := held["verdict"]:
            yield "check", _verdict(said), style
    if entry := row["ledger"]:
        yield "ledger", made_here(entry), "cyan"
    yield from _matches(row)


_RECOVERED = {
    "file": "by the file's hash",
    "pixels": "by its pixels; the file around them is another",
    "mark": "by its mark; the picture itself may be changed",
    "similarity": "by similarity",
}


def _mark(mark: Row) -> str:
    name = "this home's mark" if mark["what"] == "firsthand-mark" else "mark"
    return f"{name}: {mark['value']}"


def made_here(entry: Row) -> str:
    """How a picture was traced to the ledger: recovered, which is never to say verified."""
    close = f" ({entry['similarity']:.2f})" if entry["similarity"] is not None else ""
    how = f"recovered {_RECOVERED[entry['recovered']]}{close}"
    return f"made here on {entry['made'][:10]}, entry {entry['number']}, {how}"


def says(row: Row) -> str:
    """What an audited file says of itself, in one line: each claim with its strength."""
    told = row.get("labels") or {}
    made, recipe = told.get("made_by"), row.get("recipe")
    parts = []
    if made:
        parts.append(clean(" ".join(filter(None, (made["tool"], made["version"])))))
    if recipe and recipe["seed"] is not None:
        parts.append(f"seed {recipe['seed']}")
    line = [", ".join(parts)] if parts else []
    claims = [claim for claim in told.get("claims", ()) if claim["what"] in _TOLD]
    line += dict.fromkeys(f"{_TOLD[c['what']]} ({c['strength']})" for c in claims)
    line += map(_mark, told.get("marks", ()))
    if parents := told.get("parents"):
        line.append(f"made from {clean(parents[0]['uri'])}")
    if held := told.get("credentials"):
        line.append(f"Content Credentials: {held['outcome']}")
    if different := told.get("disagreements"):
        line.append(f"contradicts itself in {', '.join(different)}")
    if entry := told.get("ledger"):
        line.append(made_here(entry))
    return "; ".join(line)


_TOLD = {
    "ai-generated": "AI-generated", "ai-suspected": "possibly AI-generated",
    "ai-edited": "AI-edited", "verdict": "checked",
}  # fmt: skip


def _matches(row: Row) -> Iterator[tuple[str, str, str]]:
    for match in (row["matches"] or ())[:_MATCHES]:
        name = clean(match["title"] or match["uri"])
        word = "as" if "recipe" in match["why"] else "of"
        told = f"{match['score']:.2f} {match['why']} {word} {name} ({clean(match['uri'])})"
        yield "in library", told, "cyan"
    if row["matches"] == []:
        held = f"{row['library']['references']:,} references"
        yield "in library", f"nothing that is close, among {held}", "dim"


def _verdict(said: dict[str, Any]) -> str:
    """What a trusted signer says of Firsthand's check."""
    library = object_of(said.get("library"))
    against = f"{clean(library.get('references'))} references"
    return f"{clean(said.get('decision'))}, by policy {clean(said.get('policy'))}, {against}"


def _recipe(recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        if recipe[name] not in (None, ""):
            yield name.replace("_", " "), clean(recipe[name])
    if recipe["width"] and recipe["height"]:
        yield "size", f"{recipe['width']} x {recipe['height']}"
    for lora in recipe["loras"]:
        digest = f" [{clean(lora['hash'])}]" if lora["hash"] else ""
        weight = "unknown" if lora["weight"] is None else f"{lora['weight']:g}"
        yield "LoRA", f"{clean(lora['name'])} x {weight}{digest}"


def _file(row: Row) -> str:
    held = row["file"]
    if not held:
        return ""
    size = f"{held['width']} x {held['height']}, " if held["width"] else ""
    return f"{held['format'] or 'no picture'}, {size}{held['bytes']:,} bytes"


def clean(value: Any) -> str:
    """The value in at most _LONG characters, each of which a terminal prints."""
    text = str(value)
    cut = f" ... ({len(text):,} characters)" if len(text) > _LONG else ""
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text[:_LONG])
    return shown.replace("\n", "\n" + " " * 15) + cut
