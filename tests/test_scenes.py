"""Scenes keep what their captions promise; what is held out is never drawn."""

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gen.starter import scenes
from gen.starter.scenes import OBJECTS, SETTINGS, THINGS, Body, Placed, Scene

SPRITES = Path(__file__).parent.parent.parent / "shared" / "data" / "sprites"


@pytest.fixture(scope="module")
def sprites(sprites_folder: Path) -> scenes.Sprites:
    return scenes.load_sprites(sprites_folder)


def _scenes(count: int, seed: int = 0) -> list[Scene]:
    rng = random.Random(seed)
    return [scenes.random_scene(rng) for _ in range(count)]


def test_a_scene_is_drawn_the_same_every_time(sprites: scenes.Sprites) -> None:
    assert _scenes(20) == _scenes(20)
    first = [scenes.draw(scene, sprites).tobytes() for scene in _scenes(8)]
    again = [scenes.draw(scene, sprites).tobytes() for scene in reversed(_scenes(8))]
    assert first == again[::-1]


def test_every_setting_in_every_light_looks_its_own(sprites: scenes.Sprites) -> None:
    thumbs = {}
    for key, setting in SETTINGS.items():
        for light in setting.lights:
            scene = Scene(key, light, (Placed("fox", 0.5, 0.85, 0.4),), 7)
            picture = scenes.draw(scene, sprites)
            assert (picture.mode, picture.size) == ("RGB", (256, 256))
            thumbs[key, light] = np.asarray(picture.resize((32, 32)), np.float32)
    kept = list(thumbs.items())
    for number, (one, thumb) in enumerate(kept):
        for other, another in kept[:number]:
            assert np.abs(thumb - another).mean() > 4, (one, other)


def test_night_is_darker_and_sunset_is_warmer_than_day(sprites: scenes.Sprites) -> None:
    for setting in ("meadow", "city", "sea"):
        day, sunset, night = (
            np.asarray(scenes.draw(Scene(setting, light, (), 3), sprites), np.float32)
            for light in ("day", "sunset", "night")
        )
        assert night.mean() < 0.6 * day.mean()
        assert (sunset[..., 0] - sunset[..., 2]).mean() > (day[..., 0] - day[..., 2]).mean() + 40


def test_what_is_held_out_is_never_drawn_and_always_asked() -> None:
    for scene in _scenes(3000):
        names = scene.names
        assert not any(scenes.held_out(name, scene.setting) for name in names)
        assert not any(scenes.held_out_together(a, b) for a in names for b in names if a != b)
    rng = random.Random(1)
    for _ in range(300):
        scene = scenes.asked_scene(rng, 1)
        assert scenes.held_out(scene.names[0], scene.setting)
        scene = scenes.asked_scene(rng, 2)
        assert scenes.held_out_together(*scene.names)
        assert not any(scenes.held_out(name, scene.setting) for name in scene.names)


def test_sizes_are_taught_more_often_than_they_are_asked_for() -> None:
    rng = random.Random(2)
    taught = Counter(scene.size for scene in _scenes(3000) if len(scene.objects) == 1)
    asked = Counter(scenes.asked_scene(rng, 1).size for _ in range(1000))
    for size in ("tiny", "big", "huge"):
        assert taught[size] / taught.total() > 1.5 * asked[size] / asked.total() > 0
    assert taught[""] > 0


def test_about_a_twentieth_is_held_out() -> None:
    seen = {name: [s for s in SETTINGS if not scenes.held_out(name, s)] for name in OBJECTS}
    assert min(map(len, seen.values())) >= 8
    asked = Counter(s for name in OBJECTS for s in SETTINGS if scenes.held_out(name, s))
    assert set(asked) == set(SETTINGS)
    assert 0.03 < asked.total() / (len(OBJECTS) * len(SETTINGS)) < 0.07
    pairs = [(a, b) for a in OBJECTS for b in OBJECTS if a < b]
    assert 0.04 < sum(scenes.held_out_together(*pair) for pair in pairs) / len(pairs) < 0.06
    assert scenes.held_out_together("fox", "cat") == scenes.held_out_together("cat", "fox")


def test_everything_occurs() -> None:
    drawn = _scenes(6000)
    names = Counter(name for scene in drawn for name in scene.names)
    assert set(names) == set(OBJECTS)
    assert max(names.values()) < 2.5 * min(names.values())
    places = Counter((scene.setting, scene.light) for scene in drawn)
    assert set(places) == {(key, light) for key in SETTINGS for light in SETTINGS[key].lights}
    assert {scene.relation for scene in drawn} == {"", *scenes.RELATIONS}
    assert {scene.size for scene in drawn} == set(scenes.SIZES)
    counts = Counter(len(scene.objects) for scene in drawn)
    assert 0.25 < counts[1] / len(drawn) < 0.35


def _overlap(front: Body, behind: Body) -> float:
    """The share of the one behind that the boxes have in common."""
    across = min(front.right, behind.right) - max(front.left, behind.left)
    down = min(front.foot, behind.foot) - max(front.top, behind.top)
    area = behind.picture.width * behind.picture.height
    return max(0, across) * max(0, down) / area


def test_objects_stay_in_the_picture_and_relations_hold(sprites: scenes.Sprites) -> None:
    for scene in _scenes(600, seed=2):
        bodies = scenes.layout(scene, sprites)
        for body in bodies:
            assert min(body.left, body.top) >= 0
            assert max(body.right, body.foot) <= scenes.SIZE
            assert body.left % scenes.GRID == body.foot % scenes.GRID == 0
        if len(bodies) == 2 and scene.relation:
            _check_relation(scene.relation, *bodies)
        elif len(bodies) > 1:
            lefts = [body.left for body in bodies]
            assert lefts == sorted(lefts)
            assert all(_overlap(a, b) < 0.1 for a, b in pairwise(bodies))


def _check_relation(relation: str, first: Body, second: Body) -> None:
    middle = (first.left + first.right) / 2
    if relation == "on top of":
        assert first.picture.height < second.picture.height * 1.2
        assert first.top < second.top
        assert second.left <= middle <= second.right
        assert first.foot <= second.top + 0.3 * second.picture.height
    elif relation == "in front of":
        assert first.foot > second.foot
        assert 0 < _overlap(first, second) <= 0.45
    else:
        assert _overlap(first, second) < 0.05
        if relation == "left of":
            assert first.right < second.left + 8
        if relation == "right of":
            assert second.right < first.left + 8


def test_places_and_sizes_hold() -> None:
    for scene in _scenes(2000, seed=4):
        if len(scene.objects) == 1:
            assert scene.objects[0].size == scenes.SIZES[scene.size]
        x = scene.objects[0].x
        assert {"left": x < 0.45, "middle": 0.4 < x < 0.6, "right": x > 0.55, "": True}[scene.place]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_captions_say_what_they_must(language: str) -> None:
    rng = random.Random(6)
    for scene in _scenes(1500, seed=5):
        for text in (scenes.caption(scene, rng, language), scenes.plain_caption(scene, language)):
            count = len(scene.objects)
            for name in scene.names:
                thing = THINGS[name]
                english = thing.one if len(scene.names) == count else thing.many
                assert (english if language == "en" else thing.chinese) in text
            if len(scene.names) < count:
                assert scenes.NUMBERS[language][count] in text
            if scene.size:
                assert any(word in text for word in scenes.SIZE_WORDS[language][scene.size])
            assert "  " not in text
            assert text == text.strip(" ,，")


@pytest.mark.parametrize(
    ("scene", "english", "chinese"),
    [
        (("snow", "night", ["fox"]), "a fox in the snow at night", "夜晚，雪地里的一只狐狸"),
        (("space", "night", ["astronaut"]), "an astronaut in space", "太空中的一位宇航员"),
        (("farm", "rain", ["wolf", "wolf"]), "two wolves on a farm in the rain",
         "下雨时，农场里的两只狼"),
        (("room", "day", ["unicorn"]), "a unicorn in a room by day", "白天，房间里的一只独角兽"),
        (("lake", "sunset", ["cheese"]), "a piece of cheese by a lake at sunset",
         "日落时分，湖边的一块奶酪"),
    ],
)  # fmt: skip
def test_plain_captions(scene: tuple[str, str, list[str]], english: str, chinese: str) -> None:
    setting, light, names = scene
    shown = Scene(setting, light, tuple(Placed(n, 0.5, 0.9, 0.4) for n in names), 1)
    assert scenes.plain_caption(shown) == english
    assert scenes.plain_caption(shown, "zh") == chinese


def test_a_relation_is_said_in_order() -> None:
    owl, bus = Placed("owl", 0.3, 0.9, 0.4), Placed("bus", 0.7, 0.9, 0.4)
    scene = Scene("city", "day", (owl, bus), 1, "left of")
    assert scenes.plain_caption(scene) == "an owl to the left of a bus in the city by day"
    assert scenes.plain_caption(scene, "zh") == "白天，城市里，一只猫头鹰在一辆公交车左边"


def test_captions_vary() -> None:
    scene = Scene("meadow", "sunset", (Placed("cat", 0.5, 0.9, 0.5),), 1)
    for language in ("en", "zh"):
        rng = random.Random(8)
        assert len({scenes.caption(scene, rng, language) for _ in range(300)}) > 40


def test_names_are_their_own() -> None:
    assert len(OBJECTS) == 147
    assert all(
        thing.chinese and thing.measure and thing.chinese.isalpha() for thing in THINGS.values()
    )
    for field in ("one", "many", "chinese"):
        assert len({getattr(thing, field) for thing in THINGS.values()}) == 147


@pytest.mark.skipif(not SPRITES.is_dir(), reason="the sprites are not at hand")
def test_the_names_are_those_of_the_sprites() -> None:
    listed = json.loads((SPRITES / "sprites.json").read_text("utf-8"))["sprites"]
    assert tuple(sprite["name"] for sprite in listed) == OBJECTS
