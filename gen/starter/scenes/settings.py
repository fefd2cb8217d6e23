"""Where a scene can be and in which light: their words, and where objects stand in them."""

from typing import NamedTuple


class Setting(NamedTuple):
    """`ground` and `water` are the heights (shares of the side) of feet; both are on the grid."""

    where: str  # "a fox on the beach"
    noun: str  # "a beach with a fox"
    where_chinese: str
    ground: float
    water: float | None = None  # for what swims
    lights: tuple[str, ...] = ("day", "sunset", "night", "rain", "snowfall")
    outdoors: bool = True  # whether there is a sky to speak of


class Light(NamedTuple):
    """Ways to say a light; the first of each is the plain one. "" where it may go unsaid."""

    after: tuple[str, ...]  # "a fox in the forest at night"
    adjective: tuple[str, ...]  # "a moonlit forest"
    chinese: tuple[str, ...]


_BANK = 15 / 16
SETTINGS = {
    "beach": Setting("on the beach", "beach", "沙滩上", _BANK),
    "forest": Setting("in the forest", "forest", "森林里", _BANK),
    "snow": Setting(
        "in the snow",
        "snowy field",
        "雪地里",
        _BANK,
        lights=("day", "sunset", "night", "snowfall"),
    ),
    "city": Setting("in the city", "city", "城市里", _BANK),
    "desert": Setting("in the desert", "desert", "沙漠里", _BANK),
    "meadow": Setting("in a meadow", "meadow", "草地上", _BANK),
    "sea": Setting("at sea", "sea", "海上", 14 / 16, 13 / 16),
    "space": Setting(
        "in space",
        "starry space",
        "太空中",
        13 / 16,
        lights=("night",),
    ),
    "mountains": Setting("in the mountains", "mountain valley", "群山中", _BANK),
    "lake": Setting("by a lake", "lake", "湖边", _BANK, 12 / 16),
    "underwater": Setting(
        "underwater",
        "underwater world",
        "水下",
        _BANK,
        12 / 16,
        lights=("day", "night"),
        outdoors=False,
    ),
    "farm": Setting("on a farm", "farm", "农场里", _BANK),
    "canyon": Setting("in a canyon", "canyon", "峡谷里", _BANK),
    "garden": Setting("in a garden", "garden", "花园里", _BANK),
    "jungle": Setting("in the jungle", "jungle", "丛林里", _BANK),
    "village": Setting("in a village", "village", "村庄里", _BANK),
    "room": Setting(
        "in a room",
        "room",
        "房间里",
        _BANK,
        lights=("day", "night"),
        outdoors=False,
    ),
}
LIGHTS = {
    "day": Light(
        ("by day", "", "", "on a sunny day", "in daylight", "under a blue sky"),
        ("", "sunny", "bright"),
        ("白天", "", "", "晴天", "阳光下", "蓝天下"),
    ),
    "sunset": Light(
        ("at sunset", "at sunset", "at dusk", "in the evening light", "as the sun sets"),
        ("",),
        ("日落时分", "日落时", "傍晚", "夕阳下", "黄昏"),
    ),
    "night": Light(
        ("at night", "at night", "by night", "under a starry sky", "in the moonlight"),
        ("night-time", "moonlit"),
        ("夜晚", "夜里", "晚上", "星空下", "月光下"),
    ),
    "rain": Light(
        ("in the rain", "in the rain", "on a rainy day", "while it rains"),
        ("rainy",),
        ("下雨时", "雨中", "下雨天"),
    ),
    "snowfall": Light(
        ("in falling snow", "while it snows", "as snow falls", "during snowfall"),
        ("snowy",),
        ("下雪时", "飘雪时", "下雪天", "大雪纷飞"),
    ),
}
