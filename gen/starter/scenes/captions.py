"""Says in English or Chinese what a scene shows."""

import random
from collections.abc import Callable

from gen.starter.scenes.objects import THINGS
from gen.starter.scenes.scene import Scene
from gen.starter.scenes.settings import LIGHTS, SETTINGS

LANGUAGES = ("en", "zh")

Choose = Callable[[tuple[str, ...]], str]  # one of several wordings

# The first wording of each is the plain one.
SIZE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "tiny": ("tiny", "tiny", "very small"),
        "small": ("small", "small", "little"),
        "big": ("big", "big", "large"),
        "huge": ("huge", "huge", "giant"),
    },
    "zh": {
        "tiny": ("极小的", "很小很小的", "微小的"),
        "small": ("小小的", "小", "小"),
        "big": ("大大的", "大", "大", "很大的"),
        "huge": ("巨大的", "超大的", "巨型的"),
    },
}
NUMBERS = {"en": ("", "a", "two", "three"), "zh": ("", "一", "两", "三")}
_PLACES = {
    "en": {"left": "on the left", "middle": "in the middle", "right": "on the right"},
    "zh": {"left": "画面左边的", "middle": "画面中间的", "right": "画面右边的"},
}
_RELATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "and": ("{} and {}", "{} and {}", "{} with {}"),
        "next to": ("{} next to {}", "{} next to {}", "{} beside {}"),
        "left of": ("{} to the left of {}", "{} left of {}", "{} on the left of {}"),
        "right of": ("{} to the right of {}", "{} right of {}", "{} on the right of {}"),
        "on top of": ("{} on top of {}", "{} on top of {}", "{} standing on {}"),
        "in front of": ("{} in front of {}",),
    },
    "zh": {
        "and": ("{}和{}", "{}和{}", "{}与{}"),
        "next to": ("{}在{}旁边", "{}在{}旁边", "{}在{}身边"),
        "left of": ("{}在{}左边", "{}在{}左边", "{}在{}的左侧"),
        "right of": ("{}在{}右边", "{}在{}右边", "{}在{}的右侧"),
        "on top of": ("{}在{}上面", "{}在{}上面", "{}站在{}上"),
        "in front of": ("{}在{}前面", "{}在{}前面", "{}在{}的前方"),
    },
}
_LEADS = ("", "", "", "", "", "", "a picture of ", "an illustration of ", "a drawing of ")
_LEADS_CHINESE = ("", "", "", "", "", "", "一幅画：", "插画：", "图片：")


def caption(scene: Scene, rng: random.Random, language: str = "en") -> str:
    """One of many ways to say what the scene shows, in "en" or "zh"."""
    words = _english if language == "en" else _chinese
    return words(scene, rng)


def close_up(scene: Scene, rng: random.Random, language: str = "en") -> str:
    """Says a part of the scene that holds its only object, in words of its own."""
    what = (_what_english if language == "en" else _what_chinese)(scene, rng.choice)
    light = _light(scene, language, rng.choice)
    if language == "en":
        return f"a close-up of {what} {SETTINGS[scene.setting].where} {light}".strip()
    return f"特写：{light and light + '，'}{SETTINGS[scene.setting].where_chinese}的{what}"


def plain_caption(scene: Scene, language: str = "en") -> str:
    """Everything that the scene promises, always in the same words."""
    setting, light = SETTINGS[scene.setting], _light(scene, language, _first)
    if language == "en":
        return f"{_what_english(scene, _first)} {setting.where} {light}".strip()
    what = _what_chinese(scene, _first)
    joint = "，" if _clause(scene) or scene.place else "的"
    text = f"{setting.where_chinese}{joint}{what}"
    return f"{light}，{text}" if light else text


def _first(wordings: tuple[str, ...]) -> str:
    return wordings[0]


def _light(scene: Scene, language: str, choose: Choose) -> str:
    setting, light = SETTINGS[scene.setting], LIGHTS[scene.light]
    if len(setting.lights) == 1:
        return ""
    wordings = light.after if language == "en" else light.chinese
    return choose(wordings if setting.outdoors else wordings[:3])


def _clause(scene: Scene) -> bool:
    return scene.relation not in ("", "and")


# English


def _english(scene: Scene, rng: random.Random) -> str:
    what, setting = _what_english(scene, rng.choice), SETTINGS[scene.setting]
    light = _light(scene, "en", rng.choice)
    comma = "," if scene.place or rng.random() < 0.15 else ""
    dice = rng.random()
    if dice < 0.18:
        return f"{rng.choice(_LEADS)}{_noun(scene, light, rng)} with {what}"
    if dice < 0.3:
        text = f"{setting.where} {light}".strip()
        return f"{text}, {what}"
    if dice < 0.4 and light:
        return f"{light}, {what}{comma} {setting.where}"
    pause = ", " if rng.random() < 0.3 else " "
    text = f"{what}{comma} {setting.where}{pause}{light}".strip(" ,")
    return rng.choice(_LEADS) + text


def _noun(scene: Scene, light: str, rng: random.Random) -> str:
    """The setting and its light, as in "a rainy city" or "a city in the rain"."""
    setting = SETTINGS[scene.setting]
    adjective = rng.choice(LIGHTS[scene.light].adjective)
    own = len(setting.lights) == 1 or setting.noun.startswith(f"{adjective} ")
    if light and adjective and setting.outdoors and not own and rng.random() < 0.5:
        return _with_article(f"{adjective} {setting.noun}")
    noun = setting.noun if scene.setting == "space" else _with_article(setting.noun)
    return f"{noun} {light}".strip()


def _what_english(scene: Scene, choose: Choose) -> str:
    if len(scene.names) == 1 and len(scene.objects) > 1:
        return f"{NUMBERS['en'][len(scene.objects)]} {THINGS[scene.names[0]].many}"
    size = choose(SIZE_WORDS["en"][scene.size]) + " " if scene.size else ""
    phrases = [_with_article(size + THINGS[name].one) for name in scene.names]
    if len(phrases) == 3:
        return f"{phrases[0]}, {phrases[1]} and {phrases[2]}"
    if len(phrases) == 2:
        return choose(_RELATIONS["en"][scene.relation]).format(*phrases)
    return f"{phrases[0]} {_PLACES['en'][scene.place]}" if scene.place else phrases[0]


def _with_article(phrase: str) -> str:
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("unicorn", "u-"))
    return f"{'an' if vowel else 'a'} {phrase}"


# Chinese


def _chinese(scene: Scene, rng: random.Random) -> str:
    what, setting = _what_chinese(scene, rng.choice), SETTINGS[scene.setting]
    light = _light(scene, "zh", rng.choice)
    where = setting.where_chinese
    forms = [f"{where}，{what}"]
    if not _clause(scene):
        forms += [f"{what}，{where}"]
        if not scene.place:
            forms += [f"{where}的{what}", f"{where}有{what}"] + [f"{what}在{where}"] * 2
    text = rng.choice(forms)
    if light:
        shapes = [f"{light}，{text}"] * 2 + [f"{text}，{light}"]
        if text.startswith(where) and not text.startswith(f"{where}的"):
            shapes += [f"{light}的{text}"]
        text = rng.choice(shapes)
    return rng.choice(_LEADS_CHINESE) + text


def _what_chinese(scene: Scene, choose: Choose) -> str:
    if len(scene.names) == 1:
        thing = THINGS[scene.names[0]]
        number = NUMBERS["zh"][len(scene.objects)]
        size = _size_chinese(scene.size, thing.chinese, choose) if scene.size else ""
        place = _PLACES["zh"][scene.place] if scene.place else ""
        return f"{place}{number}{thing.measure}{size}{thing.chinese}"
    phrases = [f"一{THINGS[name].measure}{THINGS[name].chinese}" for name in scene.names]
    if len(phrases) == 3:
        return f"{phrases[0]}、{phrases[1]}和{phrases[2]}"
    return choose(_RELATIONS["zh"][scene.relation]).format(*phrases)


def _size_chinese(size: str, name: str, choose: Choose) -> str:
    """Without 的 only where that makes no other word: 大熊猫 is the name of a kind."""
    wordings = SIZE_WORDS["zh"][size]
    joins = name[0] in "大小" or name == "熊猫"
    return choose(tuple(word for word in wordings if word.endswith("的") or not joins))
