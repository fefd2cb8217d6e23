"""Every kind of file that people and attackers hand in: a picture or a clear DecodeError."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance.errors import DecodeError
from provenance.images import MAX_PIXELS, on_white, read_picture
from tests.carriers import chunk, png, text_chunk


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


RED = Image.new("RGB", (40, 30), (200, 30, 40))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_common_formats_decode_to_rgb(kind: str) -> None:
    picture = read_picture(saved(RED, kind))
    assert (picture.image.mode, picture.image.size, picture.frames) == ("RGB", (40, 30), 1)
    assert np.abs(np.asarray(picture.image).astype(int) - (200, 30, 40)).max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "LAB", "HSV"])
def test_every_mode_decodes_to_rgb(mode: str) -> None:
    image = RED.convert("RGB" if mode == "LAB" else mode)
    kind = "TIFF" if mode in ("CMYK", "LAB") else "PNG" if mode != "HSV" else "TIFF"
    image = image.convert("RGB") if mode in ("HSV", "PA") else image
    assert read_picture(saved(image, kind)).image.mode == "RGB"


def test_cmyk_jpeg_keeps_its_colour() -> None:
    colour = np.asarray(read_picture(saved(RED.convert("CMYK"), "JPEG")).image)[15, 20]
    assert colour[0] > 150
    assert colour[1] < 90


def test_sixteen_bits_keep_their_upper_byte() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = np.asarray(read_picture(saved(Image.fromarray(ramp), "PNG")).image)[..., 0]
    assert decoded[0, 0] == 0
    assert decoded[-1, -1] == 255
    assert abs(int(decoded[32, 0]) - 128) <= 1


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert read_picture(saved(clear, "PNG")).image.getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied() -> None:
    wide = Image.new("RGB", (40, 20), "white")
    wide.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to see it upright
    upright = read_picture(saved(wide, "JPEG", exif=exif)).image
    assert upright.size == (20, 40)
    assert upright.convert("L").getpixel((10, 5)) < 60  # type: ignore[operator]


def test_an_animation_counts_its_frames() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_picture(data).frames == 3


def test_one_pixel_is_a_picture() -> None:
    assert read_picture(saved(Image.new("RGB", (1, 1)), "PNG")).image.size == (1, 1)


def bomb(side: int) -> bytes:
    """A PNG header that promises side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_300, 12_000, 50_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused(side: int) -> None:
    assert side * side > MAX_PIXELS
    with pytest.raises(DecodeError, match="at most 80,000,000 pixels"):
        read_picture(bomb(side))


def test_a_ribbon_is_refused() -> None:
    with pytest.raises(DecodeError, match="200 times"):
        read_picture(saved(Image.new("RGB", (4000, 2)), "PNG"))


PNG, JPEG = saved(RED, "PNG"), saved(RED, "JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"not an image", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (PNG[:60], "damaged|not an image"),
        (JPEG[: len(JPEG) // 2], "damaged"),
        (PNG[:16], "damaged|not an image"),
        (b"GIF89a" + b"\xff" * 40, "damaged|not an image"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged|not an image"),
        (b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 64, "too much"),
    ],
)
def test_broken_bytes_raise_decode_error(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        read_picture(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_no_flipped_byte_raises_anything_else(kind: str) -> None:
    """Each of the first 120 bytes, inverted: a picture or a DecodeError, never another error."""
    data = saved(RED, kind)
    outcomes = set()
    for at in range(min(120, len(data))):
        damaged = bytes([*data[:at], data[at] ^ 0xFF, *data[at + 1 :]])
        try:
            outcomes.add(read_picture(damaged).image.mode)
        except DecodeError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="not a file"):
        read_picture(tmp_path)
    with pytest.raises(DecodeError, match="No such file"):
        read_picture(tmp_path / "gone.png")


def test_exif_user_comment_is_read_in_both_byte_orders() -> None:
    for order in ("utf-16-be", "utf-16-le"):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a fox\nSteps: 20".encode(order)
        texts = read_picture(saved(RED, "JPEG", exif=exif)).texts
        assert texts["UserComment"] == "a fox\nSteps: 20"


def overlapping(entries: int, size: int) -> bytes:
    """An EXIF block, or a TIFF without pixels, whose values all lie on the same bytes."""
    head = b"MM\0*\0\0\0\x08" + struct.pack(">H", entries)
    start = len(head) + 12 * entries + 4
    rows = (struct.pack(">HHII", 0x4000 + n, 7, size, start) for n in range(entries))
    return head + b"".join(rows) + bytes(4 + size)


def nested(entries: int) -> bytes:
    """An EXIF block each of whose entries is said to be another directory of as many."""
    head = b"MM\0*\0\0\0\x08" + struct.pack(">H", entries)
    rows = (struct.pack(">HHII", 0x8769, 4, 1, 10 + n) for n in range(entries))
    return head + b"".join(rows) + bytes(4) + b"\xff" * 12 * entries


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times more."""
    data = saved(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    return data[:end] + data[data.rindex(b"\xff\xda", 0, end) : end] * count + data[end:]


def gif_comments(count: int, size: int) -> bytes:
    data = saved(Image.new("P", (8, 8)), "GIF")
    comment = b"\x21\xfe" + (bytes((255,)) + b"a" * 255) * size + b"\0"
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)  # after the colour table
    return data[:at] + comment * count + data[at:]


def gif_frames(count: int) -> bytes:
    data = saved(Image.new("P", (8, 8)), "GIF")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return data[:-1] + frame * count + b";"


def raw_profile(block: bytes) -> bytes:
    """As ImageMagick keeps EXIF in a PNG, but for the prefix."""
    text = f"\nexif\n{len(block):8}\n{block.hex()}"
    return png({"Raw profile type exif": text}, kind="zTXt")


def two_animations(copies: int) -> bytes:
    """A PNG with an animation of one frame beside the picture, announced so many times."""
    header = struct.pack(">IIIIIHHBB", 0, 24, 16, 0, 0, 1, 1, 0, 0)
    frame = zlib.compress((b"\0" + b"\xff" * 72) * 16)
    animation = chunk(b"acTL", struct.pack(">II", 1, 0)) * copies
    frames = chunk(b"fcTL", header) + chunk(b"fdAT", struct.pack(">I", 1) + frame)
    data = png(extra=animation)
    return data[:-12] + frames + data[-12:]


def icon(*sides: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (max(sides),) * 2).save(out, "ICO", sizes=[(side, side) for side in sides])
    return out.getvalue()


def stereo(side: int) -> bytes:
    """A photo, and a second one of this side."""
    return saved(Image.new("RGB", (64, 64)), "MPO", save_all=True,
                 append_images=[Image.new("RGB", (side, side), "red")])  # fmt: skip


@pytest.mark.parametrize("data", [two_animations(1), two_animations(2), icon(16, 32), stereo(64)])
def test_what_shows_further_pictures_counts_them(data: bytes) -> None:
    assert read_picture(data).frames == 2


@pytest.mark.parametrize("data", [png(), icon(32), stereo(16)])
def test_one_picture_is_one(data: bytes) -> None:
    assert read_picture(data).frames == 1


def png_exif(block: bytes, junk: int = 0) -> bytes:
    texts = text_chunk("a", "b") * junk
    return png(extra=texts + chunk(b"eXIf", block))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_scans(200), "206 scans; at most 100"),
        (gif_comments(9, 500), "bytes of comments"),
        (gif_comments(2500, 1), "bytes of comments"),
        (png_exif(overlapping(2000, 10_000)), "EXIF that is larger"),
        (png_exif(overlapping(2000, 10_000), junk=2500), "EXIF that is larger"),
        (saved(Image.new("RGB", (8, 8)), "WEBP", exif=overlapping(2000, 10_000)), "EXIF that"),
        (saved(Image.new("RGB", (8, 8)), "AVIF", exif=overlapping(2000, 10_000)), "EXIF that"),
        (overlapping(2000, 10_000), "a TIFF whose directory"),
        (png_exif(overlapping(2000, 10_000).replace(b"MM\0*", b"MM*\0", 1)), "EXIF that is larger"),
        (png_exif(b"Exif\0\0" * 2 + overlapping(2000, 10_000)), "EXIF that is larger"),
        (raw_profile(overlapping(20_000, 10_000)), "EXIF that is larger"),
        (gif_frames(20_001), "more than 20,000 frames"),
        (png_exif(nested(60_000)), "EXIF that is larger"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n{} loop\n", "not an image"),
    ],
    ids=[
        "scans",
        "long comments",
        "comments",
        "PNG",
        "late",
        "WebP",
        "AVIF",
        "TIFF",
        "other header",
        "two prefixes",
        "raw profile",
        "frames",
        "nested",
        "EPS",
    ],
)
def test_what_costs_a_decoder_too_much_is_not_decoded(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        read_picture(data)


def test_what_is_usual_is_decoded() -> None:
    assert read_picture(with_scans(20)).image.size == (64, 64)
    assert read_picture(gif_comments(3, 40)).texts["comment"].count("a") == 3 * 40 * 255
    assert read_picture(png_exif(overlapping(5, 10_000))).image.size == (24, 16)
    assert read_picture(gif_frames(20)).frames == 21
    pages = [Image.new("L", (8, 8), n) for n in range(3)]
    for big in (False, True):
        data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], big_tiff=big)
        assert read_picture(data).frames == 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "F", "I"])
def test_pictures_are_made_plain_the_same_in_strips(mode: str) -> None:
    rng = np.random.default_rng(0)
    values = {
        "RGBA": rng.integers(0, 256, (700, 9, 4), np.uint8),
        "LA": rng.integers(0, 256, (700, 9, 2), np.uint8),
        "F": rng.normal(0, 100, (700, 9)).astype(np.float32),
        "I": rng.integers(0, 2**31 - 1, (700, 9), np.int32),
    }
    whole = Image.fromarray(values[mode])
    made = np.asarray(on_white(whole))
    if mode in ("RGBA", "LA"):
        layer = whole.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        right = np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    elif mode == "F":
        low, high = float(values["F"].min()), float(values["F"].max())
        right = ((values["F"].astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
    else:
        right = (values["I"] / 2**23 * 255).clip(0, 255).astype(np.uint8)
    assert (made == (right if right.ndim == 3 else right[..., None])).all()


def test_eight_bits_in_a_larger_box_are_read_as_they_are() -> None:
    photo = Image.effect_noise((64, 64), 60)
    boxed = read_picture(saved(photo.convert("I;16"), "PNG")).image
    assert (np.asarray(boxed) == np.asarray(photo)[..., None]).all()


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(DecodeError, match="null"):
        read_picture(Path("a\0b.png"))
