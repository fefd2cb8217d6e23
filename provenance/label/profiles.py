"""Which labels a jurisdiction asks for: the one table of what each profile writes, and why.

Whatever the profile, a saved picture carries its recipe, its verdict and Content Credentials.
"""

from dataclasses import dataclass

from provenance.errors import UsageError
from provenance.label.encode import MIME
from provenance.label.infotext import SOFTWARE


@dataclass(frozen=True)
class Profile:
    """What is written beside recipe, verdict and signature.

    `iptc`: IPTC's digital source type and AI system, in XMP. `identity`: who provided the picture,
    when, and under which identifier, in XMP. `aigc`: the implicit label of GB 45438-2025.
    `visible`: whether `text` is drawn into the picture unless the settings say otherwise.
    """

    name: str
    why: str
    iptc: bool = True
    identity: bool = False
    aigc: bool = False
    visible: bool = False
    text: str = "AI-generated"


PROFILES = {
    each.name: each
    for each in (
        Profile(
            "eu",
            "Regulation (EU) 2024/1689, art. 50(2): outputs are marked in a machine-readable "
            "format and detectable as artificially generated; Code of Practice on Transparency of "
            "AI-Generated Content, 1.1.1: metadata that is signed and timed. A visible label is "
            "the deployer's duty for deep fakes (art. 50(4)): switch it on",
        ),
        Profile(
            "cn",
            "人工智能生成合成内容标识办法: art. 4, downloads carry the visible label; art. 5, the "
            "file's metadata tells that it is AI-made, by whom, under which number; art. 9, "
            "without the visible label only by agreement with the user. GB 45438-2025: 5.2, "
            "AI and 生成, at an edge, at least 5 % of the shortest side; annex E, the seven "
            "fields. TC260-PG-20259A: where in XMP, and the second form",
            aigc=True,
            visible=True,
            text="AI生成",
        ),
        Profile(
            "us-ca",
            "California Business and Professions Code 22757.3(b): a latent disclosure with the "
            "provider's name, the system's name and version, time and date, a unique identifier; "
            "22757.3(a): a visible one where the user wants it",
            identity=True,
        ),
        Profile("none", "no law asks for a label", iptc=False),
    )
}


def profile_named(name: str) -> Profile:
    if name not in PROFILES:
        raise UsageError(f"label profiles are {', '.join(PROFILES)}; got {name!r}")
    return PROFILES[name]


@dataclass(frozen=True)
class Style:
    """How files are written. `quality` is for JPEG and WebP; `provider` is who offers the pictures.

    `visible` overrides the profile's word on the visible label. `prompt` writes the prompt into
    IPTC's AI properties too, where picture archives show it.
    """

    profile: Profile = PROFILES["eu"]
    form: str = "png"
    quality: int = 95
    visible: bool | None = None
    prompt: bool = False
    provider: str = SOFTWARE

    def __post_init__(self) -> None:
        if self.form not in MIME:
            raise UsageError(f"pictures are saved as {', '.join(MIME)}; got {self.form!r}")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality is from 1 to 100, got {self.quality}")

    @property
    def drawn(self) -> str | None:
        """The visible label, if there is one."""
        visible = self.profile.visible if self.visible is None else self.visible
        return self.profile.text if visible else None
