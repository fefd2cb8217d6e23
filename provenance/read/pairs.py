"""`Key: value, Key: "quoted, value", Key: {"json": 1}` → pairs, in linear time.

What AUTOMATIC1111's regular expression reads (modules/infotext_utils.py), which takes quadratic
time for a hostile line, and the unquoted JSON values that Civitai adds. Knows nothing of the keys.
"""

import json
import re
from typing import Any

MAX_PAIRS = 1_000
_KEY = re.compile(r"\w[\w \-/]{1,80}\Z")
_QUOTED = re.compile(r'"((?:\\.|[^\\"])+)"(?=\s{0,9}(?:,|\Z))')
_MAX_OBJECTS = 16  # JSON values in one line: each is looked for to the end of the line
_BRACKETS = re.compile(r'"(?:\\.|[^\\"])*"|[\[\]{}]')


def pairs_of(line: str) -> dict[str, Any]:
    """Values by their keys: texts without their quotes, or what JSON there is."""
    found: dict[str, Any] = {}
    at = objects = 0
    while (colon := line.find(":", at)) >= 0 and len(found) < MAX_PAIRS:
        key = _key(line[max(at, colon - 90) : colon])
        start = colon + 1
        while line[start : start + 1].isspace():
            start += 1
        if not key:
            at = colon + 1
            continue
        if line[start : start + 1] in ("{", "[") and objects < _MAX_OBJECTS:
            objects += 1
            end = _end_of_json(line, start)
        else:
            end = _end_of_text(line, start)
        found[key] = _value(line[start:end].strip())
        at = end
    return found


def _key(before: str) -> str:
    """The longest end of what stands before a colon that can be a key."""
    tail = re.split(r"[^\w \-/]", before)[-1].lstrip(" -/")
    return tail if _KEY.match(tail) else ""


def _end_of_text(line: str, start: int) -> int:
    if line[start : start + 1] == '"' and (quoted := _QUOTED.match(line, start)):
        return quoted.end()
    comma = line.find(",", start)
    return len(line) if comma < 0 else comma


def _end_of_json(line: str, start: int) -> int:
    depth = 0
    for mark in _BRACKETS.finditer(line, start):
        if mark[0][0] == '"':
            continue
        depth += 1 if mark[0] in "[{" else -1
        if depth == 0:
            return mark.end()
    return _end_of_text(line, start)


def _value(text: str) -> Any:
    if text[:1] in ('"', "{", "[") and len(text) > 1:
        try:
            return json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return text
    return text
