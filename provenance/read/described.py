"""Reads what services write as plain descriptions: Midjourney, DALL·E and GPT-image.

A description is words and flags, no recipe that could be run again: model, seed and steps stay
unknown unless they are said.
"""

import re
from collections.abc import Iterator

from provenance.read.found import Carried, Claim, Found, Parent, Text, recipe_from
from provenance.read.infotext import parse_found

KEYS = ("Description", "ImageDescription", "dc:description", "Caption", "comment", "UserComment",
        "Prompt", "prompt")  # fmt: skip
_JOB = re.compile(r"\bJob ID: ?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_FLAG = re.compile(r"(?:(?<=\s)|^)--(?=[a-z])")
_TELLING = {"ar", "v", "niji", "stylize", "chaos", "style", "raw", "sref", "cref"}
_ADDRESS = re.compile(r"https?://\S{1,2000}")
_OPENAI = re.compile(
    r"\b(DALL[·\-•. ]?E(?:[ \-]?[23])?|gpt-image-[0-9.a-z\-]{1,20}|GPT-4o)\b", re.IGNORECASE
)
MAX_LENGTH = 50_000  # characters


def read_midjourney(carried: Carried) -> Iterator[Found]:
    """A prompt with its `--flags`, and `Job ID: …` after it."""
    for text in carried.under(*KEYS):
        if len(text.text) > MAX_LENGTH or text.text.lstrip()[:1] in ("{", "["):
            continue
        if parse_found(text):  # a prompt with such flags, given to another tool
            continue
        job = _JOB.search(text.text)
        flags = _flags(_JOB.sub("", text.text))
        if (job and (flags or len(text.text) < 10_000)) or len(flags.keys() & _TELLING) >= 2:
            yield _midjourney(text, job[1] if job else None, flags)


def read_openai(carried: Carried) -> Iterator[Found]:
    """Files that name DALL·E or GPT-image as their software, or as JSON's `model`."""
    for text in carried.under("Software", "xmp:CreatorTool", "Make", "Model", "Source", *KEYS):
        values = text.object
        named = str(values.get("model") or "") if values else text.text[:300]
        says = text.key in ("Software", "xmp:CreatorTool", "Make", "Model", "Source") or values
        if says and (match := _OPENAI.search(named)):
            prompt = values.get("revised_prompt") or values.get("prompt")
            prompt = prompt or _description(carried)
            recipe = recipe_from(prompt, model=match[1]) if prompt else None
            yield Found("OpenAI", text.where, text.text, recipe, settings={"model": match[1]})


def _description(carried: Carried) -> str | None:
    return next(
        (text.text for text in carried.under(*KEYS[:4]) if len(text.text) < MAX_LENGTH), None
    )


def _flags(text: str) -> dict[str, str]:
    """`--ar 4:3 --no cars, rain` by name; each value goes on to the next flag."""
    pairs = (flag.strip().partition(" ") for flag in _FLAG.split(text)[1:200])
    return {name[:40]: value.strip() for name, _, value in pairs}


def _word(value: str | None) -> str | None:
    return value.split()[0] if value else None


def _midjourney(text: Text, job: str | None, flags: dict[str, str]) -> Found:
    prompt = _FLAG.split(_JOB.sub("", text.text), maxsplit=1)[0].strip()
    version = _word(flags.get("v") or flags.get("version"))
    niji = _word(flags.get("niji"))
    version = f"niji {niji}" if niji else version
    images = _ADDRESS.findall(prompt.partition(" ")[0]) if prompt.startswith("http") else []
    return Found(
        tool="Midjourney",
        source=text.where,
        raw=text.text,
        version=version,
        recipe=recipe_from(
            prompt,
            negative=flags.get("no"),
            model=f"Midjourney {version}" if version else None,
            seed=flags.get("seed"),
        ),
        settings={name: value or True for name, value in flags.items()},
        claims=(Claim("job", job, text.where),) if job else (),
        parents=tuple(Parent(image, "image prompt") for image in images),
    )
