"""Verdicts and findings → terminal lines, CSV and one self-contained HTML file."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from provenance.files import write_whole
from provenance.match import Index
from ui.evidence import (
    MAX_ILLUSTRATED,
    Row,
    evidence,
    group_evidence,
    is_outside,
    near_duplicates,
    status,
    withheld,
)
from ui.inspection import clean, says

if TYPE_CHECKING:
    from gen.shelf import Item
    from ui.calibration import Outcome

_STYLE = {
    "clear": "green",
    "review": "yellow",
    "block": "red",
    "unreadable": "magenta",
    "failed": "magenta",
}
_CLEAR_SHOWN = 200
_GROUPS_SHOWN = 100
_LINES_SHOWN = 40
_ORDER = ("block", "review", "unreadable", "failed", "clear")


def output() -> Console:
    """The console of standard output."""
    return Console(soft_wrap=True, highlight=False)


def progress() -> Progress:
    """A progress bar on standard error; prints above it through its console."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    remaining = TimeRemainingColumn()
    return Progress(*columns, remaining, console=console, transient=True, redirect_stdout=False)


def batch_progress() -> Progress:
    """The same, for a batch: what `pace` tells in place of a guess at the time that is left."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn())
    told = TextColumn("{task.fields[pace]}")
    return Progress(*columns, told, console=console, transient=True, redirect_stdout=False)


def pace(moments: Sequence[float], left: int, counts: Mapping[str, int]) -> str:
    """Pictures a second, time left, counts by verdict; `moments` of the last pictures, seconds."""
    told = [f"{counts[name]:,} {name}" for name in reversed(_ORDER) if counts.get(name)]
    passed = moments[-1] - moments[0]
    if passed > 0:
        rate = (len(moments) - 1) / passed
        told[:0] = [f"{rate:.3g} pictures/s", f"{_clock(left / rate)} left"]
    return " · ".join(told)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def tell(bar: Progress, text: Text | str, json_to: str | None = None) -> None:
    """A result while the bar is up: on standard output, or above the bar where both are one screen.

    When the JSON lines go to standard output (`-`), everything else goes to standard error.
    """
    if json_to == "-" or sys.stdout.isatty():
        bar.console.print(Text(text) if isinstance(text, str) else text)
    else:
        print(str(text), flush=True)


def remark(bar: Progress, text: str) -> None:
    """A word beside the results, on standard error."""
    bar.console.print(Text(text, style="yellow"))


def line(row: Row) -> Text:
    """One row in one line: decision, what it is about, why."""
    name = clean(row.get("path") or f"seed {row.get('seed')}")
    reasons = clean(row["error"] or "; ".join(row["reasons"]))
    held = f" (held: {row['held']})" if row.get("held") else ""
    notes = "".join(f" ({note})" for note in (row.get("labels") or {}).get("notes", ()))
    tried = f" (after {len(row['attempts'])} other seeds)" if row.get("attempts") else ""
    text = Text(f"{status(row):10} ", style=_STYLE[status(row)])
    return text.append(
        f"{name}{tried}{': ' if reasons else ''}{reasons}{held}{notes}", style="default"
    )


def shelf_line(item: "Item") -> str:
    """One thing on the shelf in one line: kind, name, size, AutoV2, AutoV3, licence."""
    if item.problem:
        return printable(f"{item.kind:10} {item.name}: {item.problem}")
    third = f"AutoV3 {item.autov3[:12]}" if item.autov3 else ""
    return printable(
        f"{item.kind:10} {item.name:24} {item.bytes / 2**20:8.1f} MiB  AutoV2 {item.sha256[:10]}"
        f"  {third:19}  {item.licence or 'licence not said'}"
    )


def printable(text: str) -> str:
    """On one line, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def details(row: Row) -> Text:
    """The row's line and under it its matches."""
    text = line(row)
    for match in row["matches"][:5]:
        closeness = "  ".join(f"{name} {value:.3f}" for name, value in match["similarity"].items())
        chance = "" if match["chance"] is None else f"  chance {match['chance']:.1g}"
        text.append(
            f"\n    {match['score']:.3f} {match['why']}: {clean(match['uri'])}  {closeness}{chance}"
        )
    if row["library"]:
        held = row["library"]
        text.append(f"\n    policy {row['policy']}, {held['references']:,} references", "dim")
    return text


def summary(rows: Sequence[Row]) -> str:
    """Counts by decision, and of near duplicates."""
    counts = Counter(map(status, rows))
    parts = [f"{counts[name]:,} {name}" for name in reversed(_ORDER) if counts[name]]
    told = f"{len(rows):,} pictures: {', '.join(parts) or 'nothing to do'}"
    groups = near_duplicates(rows)
    if not groups:
        return told
    held = sum(len(group) for group in groups.values())
    some = sum(is_outside(row) for row in rows)
    kind = "group" if len(groups) == 1 else "groups"
    more = f", {some:,} more close to some of a group" if some else ""
    return f"{told}\n{held:,} pictures in {len(groups):,} {kind} of near duplicates{more}"


def group_lines(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each group of near duplicates, and for what is close to some of a group."""
    lines = [
        f"{f'group {number}':10} {_listed([row['path'] for row in group])}"
        for number, group in near_duplicates(rows).items()
    ]
    lines += [
        f"{'close':10} {clean(row['path'])}: to {_listed([near['path'] for near in row['near']])}"
        for row in rows
        if is_outside(row)
    ]
    yield from lines[:_LINES_SHOWN]
    if len(lines) > _LINES_SHOWN:
        yield f"... and {len(lines) - _LINES_SHOWN:,} more: --json and --csv name them"


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return clean(", ".join(names[:most])) + more


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line a row, with its best match, what is nearest to it among the audited pictures, and
    what its file says.

    Cells that a spreadsheet would run are quoted.
    """
    out = io.StringIO()
    table = csv.writer(out)
    head = ["path", "decision", "reasons", "error", "score", "why", "reference", "title", "license"]
    table.writerow([*head, "group", "near", "near_score", "says"])
    for row in rows:
        best = row["matches"][0] if row["matches"] else {}
        cells = [row["path"], row["decision"], "; ".join(row["reasons"]), row["error"]]
        cells += [best.get(key, "") for key in ("score", "why", "uri", "title", "license")]
        nearest = row["near"][0] if row.get("near") else {"path": "", "score": ""}
        group = row["group"]["id"] if row.get("group") else ""
        cells += [group, nearest["path"], nearest["score"], says(row)]
        table.writerow([_harmless(cell) for cell in cells])
    write_whole(path, out.getvalue().encode("utf-8-sig", "replace"))


def _harmless(cell: Any) -> Any:
    """A leading apostrophe where a spreadsheet would take the text for a formula (OWASP)."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell


def write_html(rows: Sequence[Row], path: Path, index: Index, *, title: str) -> None:
    """A report that needs no other file: for each picture that is not clear, it and its matches."""
    ordered = sorted(rows, key=lambda row: _ORDER.index(status(row)))
    counts = Counter(map(status, rows))
    clear = [row for row in rows if status(row) == "clear"][:_CLEAR_SHOWN]
    groups = near_duplicates(rows)
    html = render(
        "report.html",
        title=title,
        counts=[(name, counts[name]) for name in _ORDER if counts[name]],
        total=len(rows),
        shown=_evidence([row for row in ordered if status(row) != "clear"], index),
        clear=[_shown(row, index) for row in clear],
        groups=[group_evidence(groups[number], rows) for number in list(groups)[:_GROUPS_SHOWN]],
        groups_hidden=max(0, len(groups) - _GROUPS_SHOWN),
        library=next((row["library"] for row in rows if row.get("library")), None),
        policy=next((row["policy"] for row in rows if row.get("policy")), None),
    )
    write_whole(path, html)


def _shown(row: Row, index: Index) -> dict[str, Any]:
    return {**evidence(row, index), "says": says(row)}


def _evidence(rows: Sequence[Row], index: Index) -> list[dict[str, Any]]:
    """The first few hundred with pictures: a browser opens no page with thousands."""
    told = [{**_shown(row, index), "illustrated": True} for row in rows[:MAX_ILLUSTRATED]]
    for row in rows[MAX_ILLUSTRATED:]:
        words = {"name": row["path"], "status": status(row), "says": says(row)}
        told.append({**row, **words, "shown": row["matches"][:3], "illustrated": False})
    return told


def write_calibration(outcome: "Outcome", path: Path) -> None:
    """What `index calibrate` measured, with its plot, in one HTML file."""
    from ui.calibration import plot_uri

    html = render(
        "calibration.html",
        title="Calibration",
        calibration=outcome.measured.calibration,
        policy=outcome.policy,
        plot=plot_uri(outcome),
        rows=outcome.rows(),
        related=outcome.related(),
    )
    write_whole(path, html)


def evidence_html(rows: Sequence[Row], index: Index) -> str:
    """The evidence on generations that are not shown: references only, never their own pictures."""
    others = [withheld(row) for row in rows if status(row) != "clear"]
    return render("evidence.html", rows=[evidence(row, index) for row in others]).decode()


def render(template: str, **values: Any) -> bytes:
    """The template's page as UTF-8; what is filled in is escaped."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("ui"), autoescape=True)
    environment.filters["linked"] = _linked
    return environment.get_template(template).render(**values).encode("utf-8", "replace")


def _linked(uri: str) -> Markup:
    """The address, as a link where a browser can follow it to a page or a file."""
    if not uri.lower().startswith(("https://", "http://", "file:///")):
        return escape(uri)
    return Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(uri)
