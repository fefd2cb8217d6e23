"""What Firsthand writes into its files: read back by itself, by Pillow, by others' readers."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import piexif
import piexif.helper
import pytest
from PIL import Image, ImageFont, ImageOps
from sd_parsers import ParserManager
from sd_prompt_reader.image_data_reader import ImageDataReader

from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.fingerprint import content_hash
from provenance.images import read_picture
from provenance.inspect import inspect
from provenance.label.encode import MIME
from provenance.label.labeller import Labelled, Labeller
from provenance.label.profiles import PROFILES, Style, profile_named
from provenance.label.visible import FONT, ink_height, put_label, sized
from provenance.read import recipe_of
from provenance.recipe import Lora, Part, Recipe
from provenance.verdict import Decision, Verdict
from tests.conftest import PHOTOS, labeller, root, signer
from ui.settings import load_settings
from ui.wiring import style

RECIPE = Recipe(
    'a fox, "red": 雪\nby <night> & day', "fog,\nblur", "starter", "0123456789", 2**40, 20, 4.5,
    "DPM++ 2M", "Karras", 96, 64, (Lora("ink", 0.8, "ab12cd34ef56"),), Part("vae.pt", "0011223344"),
)  # fmt: skip
VERDICT = Verdict(Decision.CLEAR, ("nothing close",), (), "default-5", "v1", 5)
PHOTO = Image.open(PHOTOS / "coffee.png").convert("RGB")
SMALL = PHOTO.resize((96, 64))
FORMS = tuple(MIME)


def saved(style: Style, recipe: Recipe = RECIPE, image: Image.Image = SMALL) -> Labelled:
    return labeller(style)(image, recipe, VERDICT)


def told(made: Labelled, tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / f"a{made.suffix}"
    path.write_bytes(made.data)
    return inspect(path, root())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("profile", PROFILES)
def test_what_was_saved_is_read_back(form: str, profile: str, tmp_path: Path) -> None:
    made = saved(Style(PROFILES[profile], form))
    row = told(made, tmp_path)
    assert row["error"] is None
    assert row["recipe"] == RECIPE.to_json()
    assert row["disagreements"] == []
    assert row["made_by"] == {"tool": "Firsthand", "version": None}
    assert row["credentials"]["outcome"] == "trusted"
    verdict = row["credentials"]["verdict"]
    assert verdict["decision"] == "clear"
    assert verdict["library"] == {"version": "v1", "references": 5}
    assert verdict["checked"]["content"] == content_hash(SMALL)
    signed = {c["what"]: c["value"] for c in row["claims"] if c["strength"] == "signed"}
    assert signed["ai-generated"] == "trainedAlgorithmicMedia"
    assert signed["verdict"] == "clear"
    by_xmp = [c for c in row["claims"] if c["source"].startswith("XMP Iptc4xmpExt")]
    assert bool(by_xmp) == PROFILES[profile].iptc


@pytest.mark.parametrize("form", FORMS)
def test_others_read_it_as_a1111s(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(saved(Style(PROFILES["cn"], form)).data)
    (sampler,) = ParserManager().parse(path).samplers
    assert sampler.parameters == {
        "seed": str(RECIPE.seed), "steps": "20", "cfg_scale": "4.5", "scheduler": "Karras",
    }  # fmt: skip
    assert sampler.prompts[0].value == f"{RECIPE.prompt} <lora:ink:0.8>"
    read = ImageDataReader(path)
    assert read.tool == "A1111 webUI"
    assert (read.positive, read.negative) == (f"{RECIPE.prompt} <lora:ink:0.8>", RECIPE.negative)
    assert read.parameter["seed"] == str(RECIPE.seed)
    if form != "png":
        with Image.open(path) as image:
            comment = piexif.load(image.info["exif"])["Exif"][0x9286]
        expected = piexif.helper.UserComment.load(comment)
        assert piexif.helper.UserComment.dump(expected, "unicode") == comment


@pytest.mark.parametrize("form", FORMS)
def test_pillow_reads_the_xmp(form: str) -> None:
    made = saved(Style(PROFILES["us-ca"], form, provider="Fox & Sons <雪>"))
    found = xmp(made)
    assert found["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert found["AISystemUsed"] == "Firsthand: starter [0123456789]"
    assert found["Credit"] == "Fox & Sons <雪>"
    assert found["DocumentID"] == f"urn:firsthand:{content_hash(SMALL)}"
    assert found["CreateDate"].endswith("Z")
    assert "AIPromptInformation" not in found
    opted = xmp(saved(Style(form=form, prompt=True)))
    assert opted["AIPromptInformation"] == RECIPE.prompt


def xmp(made: Labelled) -> dict[str, str]:
    with Image.open(io.BytesIO(made.data)) as image:
        image.load()
        return dict(image.getxmp()["xmpmeta"]["RDF"]["Description"])


@pytest.mark.parametrize("form", FORMS)
def test_the_aigc_label_has_its_seven_fields_in_both_places(form: str) -> None:
    made = saved(Style(PROFILES["cn"], form, provider="雪"))
    label = json.loads(xmp(made)["AIGC"])
    assert list(label) == [
        "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator",
        "PropagateID", "ReservedCode2",
    ]  # fmt: skip
    assert (label["Label"], label["ContentProducer"]) == ("1", "雪")
    assert label["ProduceID"] == content_hash(SMALL)
    with Image.open(io.BytesIO(made.data)) as image:
        second = image.info["AIGC"] if form == "png" else image.getexif()[0x010E]
    assert json.loads(second) == {"AIGC": label}


def test_a_png_has_the_pixels_that_were_checked() -> None:
    made = saved(Style())
    assert read_picture(made.data).image.tobytes() == SMALL.tobytes()
    assert recipe_of(read_picture(made.data)) == RECIPE
    assert json.loads(read_picture(made.data).texts["firsthand"])["decision"] == "clear"


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (512, 512), (1536, 640), (96, 1024)])
@pytest.mark.parametrize("text", ["AI生成", "AI-generated"])
def test_the_visible_label_is_high_enough(size: tuple[int, int], text: str) -> None:
    plain = Image.new("RGB", size, (90, 120, 150))
    labelled = put_label(plain, text)
    assert plain.getcolors() == [(size[0] * size[1], (90, 120, 150))], "the picture is left alone"
    white = np.asarray(labelled).min(axis=2) > 160
    rows = np.flatnonzero(white.any(axis=1))
    assert rows.max() - rows.min() + 1 >= 0.05 * min(size)
    assert rows.max() >= size[1] * 0.9, "at the edge"
    assert np.flatnonzero(white.any(axis=0)).min() > 0, "whole"


def test_a_tiny_picture_takes_what_fits() -> None:
    for side in (8, 16, 24):
        assert put_label(Image.new("RGB", (side, side)), "AI-generated").size == (side, side)


def test_the_lowest_letter_reaches_the_height_that_is_asked_for() -> None:
    for ink in (4, 26, 52, 333):
        assert ink <= ink_height(sized("AI生成", ink), "AI生成") <= ink * 1.2 + 1


def test_the_font_draws_every_letter() -> None:
    font = ImageFont.truetype(FONT, 40)
    letters = {*"".join(profile.text for profile in PROFILES.values()), "☃"}  # one that it lacks
    drawn = {(font.getbbox(letter), bytes(font.getmask(letter))) for letter in letters}
    assert len(drawn) == len(letters)


def test_profiles_draw_and_settings_overrule() -> None:
    assert Style(PROFILES["cn"]).drawn == "AI生成"
    assert Style(PROFILES["cn"], visible=False).drawn is None
    assert Style(PROFILES["eu"]).drawn is None
    assert Style(PROFILES["eu"], visible=True).drawn == "AI-generated"


def test_a_labelled_picture_is_still_found(checker: Checker) -> None:
    """The check was of the picture without the label; with it, it is the same to the check."""
    for form in FORMS:
        made = saved(Style(PROFILES["cn"], form), image=PHOTO)
        assert made.labels["visible"] == "AI生成"
        verdict = checker.check(read_picture(made.data))
        assert verdict.decision is Decision.BLOCK
        assert verdict.matches[0].reference.title == "coffee.png"


def test_mark_then_label_then_signature_then_record(tmp_path: Path) -> None:
    seen: list[Any] = []

    def mark(image: Image.Image, recipe: Recipe) -> Image.Image:
        seen.append((image.tobytes(), recipe))
        return ImageOps.invert(image)

    def record(made: Labelled, recipe: Recipe, verdict: Verdict) -> None:
        seen.append((made, recipe, verdict))

    label = Labeller(Style(PROFILES["cn"]), signer(), mark=mark, record=record)
    made = label(SMALL, RECIPE, VERDICT)
    assert seen == [(SMALL.tobytes(), RECIPE), (made, RECIPE, VERDICT)]
    assert hashlib.sha256(made.data).hexdigest() == made.labels["sha256"]
    expected = put_label(ImageOps.invert(SMALL), "AI生成")
    assert read_picture(made.data).image.tobytes() == expected.tobytes()
    row = told(made, tmp_path)
    assert row["credentials"]["outcome"] == "trusted"
    assert row["credentials"]["verdict"]["checked"] == {
        "alg": "blake3",
        "content": content_hash(SMALL),
        "since": ["invisible mark", "visible label: AI生成"],
    }
    assert made.labels["manifest"] in str(row["claims"])


def test_no_record_no_picture() -> None:
    def record(*_: Any) -> None:
        raise CheckError("the ledger is gone")

    with pytest.raises(CheckError, match="ledger"):
        Labeller(Style(), signer(), record=record)(SMALL, RECIPE, VERDICT)


@pytest.mark.parametrize("letter", ["雪", "😀"])
def test_a_recipe_that_a_jpeg_cannot_hold_is_left_out_and_said(letter: str, tmp_path: Path) -> None:
    long = RECIPE.with_changes(prompt=letter * 10_000, negative=letter * 10_000)
    for form in FORMS:
        made = saved(Style(PROFILES["cn"], form, prompt=True), long)
        row = told(made, tmp_path)
        assert row["credentials"]["outcome"] == "trusted"
        if form == "jpeg":
            assert "too long for JPEG" in made.labels["notes"][0]
        else:
            assert made.labels["notes"] == []
            assert row["recipe"]["prompt"] == long.prompt


def test_a_jpeg_has_room_for_the_recipe_and_the_provider() -> None:
    long = RECIPE.with_changes(prompt="😀" * 10_000, negative="😀" * 6_000)
    made = saved(Style(PROFILES["cn"], "jpeg", provider="公司" * 100), long)
    assert "too long for JPEG" in made.labels["notes"][0]


@pytest.mark.parametrize("form", FORMS)
def test_texts_that_no_file_can_hold_are_mended(form: str, tmp_path: Path) -> None:
    odd = RECIPE.with_changes(prompt="a \ud800 fox", model="m\x01\x1f\ufffe<&\"'\ud8ff")
    row = told(saved(Style(PROFILES["cn"], form, prompt=True), odd), tmp_path)
    assert row["error"] is None
    assert row["credentials"]["outcome"] == "trusted"
    assert row["recipe"]["prompt"] == "a ? fox"
    assert {"ai-prompt", "ai-system"} <= {claim["what"] for claim in row["claims"]}


@pytest.mark.parametrize(
    ("values", "said"),
    [({"label": "de"}, "label profiles are eu, cn"), ({"format": "gif"}, "png, jpeg, webp"),
     ({"quality": 101}, "1 to 100"), ({"quality": "high"}, "a number from 1")],
)  # fmt: skip
def test_a_wrong_setting_says_what_is_right(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        style(load_settings(**values))


def test_settings_come_from_the_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text('label = "us-ca"\nvisible_label = true\nquality = 80\n')
    monkeypatch.setenv("FIRSTHAND_PROVIDER", "Fox")
    monkeypatch.setenv("FIRSTHAND_LABEL_PROMPT", "yes")
    made = style(load_settings(home=tmp_path, format="webp"))
    assert made == Style(profile_named("us-ca"), "webp", 80, True, True, "Fox")
    monkeypatch.setenv("FIRSTHAND_LABEL_PROMPT", "maybe")
    with pytest.raises(UsageError, match="label_prompt is true or false"):
        load_settings(home=tmp_path)
    monkeypatch.delenv("FIRSTHAND_LABEL_PROMPT")
    monkeypatch.setenv("FIRSTHAND_TIMESTAMP_AUTHORITY", "tsa.example")
    with pytest.raises(UsageError, match="timestamp_authority is an http"):
        load_settings(home=tmp_path)
