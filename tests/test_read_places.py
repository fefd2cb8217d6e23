"""Every place where a text can lie in a file is found, whatever the file is called."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance.images import read_picture, read_stored
from provenance.inspect import inspect
from provenance.read import recipe_of
from provenance.read.comfy import _recipe
from provenance.read.gather import gather, gather_decoded
from provenance.read.graph import Graph
from provenance.read.stealth import stealth_texts
from tests.carriers import chunk, hidden, png, text_chunk, wide_comment, with_exif, xmp

INFO = (
    "a fox at night, 夜\nNegative prompt: fog\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768"
)


def texts(data: bytes) -> dict[str, str]:
    found = gather(data, read_stored(data)).carried.texts
    return {text.where: text.text for text in found}


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("late", [False, True])
def test_png_texts_of_each_kind_before_and_after_the_pixels(kind: str, late: bool) -> None:
    data = png({"parameters": INFO}, kind=kind, late=late)
    assert texts(data)[f"PNG {kind} parameters"] == INFO
    if kind != "zTXt":  # the decoder takes its UTF-8 for Latin-1; that is mended
        recipe = recipe_of(read_picture(data))
        assert recipe
        assert recipe.prompt == "a fox at night, 夜"


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_user_comments_in_both_byte_orders(kind: str, order: str) -> None:
    data = with_exif(kind, comment=wide_comment(INFO, order))
    assert texts(data)["EXIF UserComment"] == INFO
    assert recipe_of(read_picture(data))


@pytest.mark.parametrize(
    "comment",
    [b"ASCII\0\0\0a fox", b"a fox", "a fox", b"\0" * 8 + b"a fox"],
    ids=["ascii", "bare", "text", "undefined"],
)
def test_user_comments_in_other_codings(comment: bytes | str) -> None:
    assert texts(with_exif("JPEG", comment=comment))["EXIF UserComment"] == "a fox"


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_comments(kind: str) -> None:
    out = io.BytesIO()
    Image.new("P", (8, 8)).convert("RGB" if kind == "JPEG" else "P").save(
        out, kind, comment=INFO.encode()
    )
    assert texts(out.getvalue())[f"{kind} comment"] == INFO
    assert recipe_of(read_picture(out.getvalue()))


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
def test_formats_that_only_the_decoder_knows(kind: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = wide_comment(INFO)
    out = io.BytesIO()
    Image.new("RGB", (24, 16)).save(out, kind, exif=exif.tobytes())
    assert texts(out.getvalue())["EXIF UserComment"] == INFO


def test_repeated_keys_are_all_told() -> None:
    other = INFO.replace("Seed: 5", "Seed: 6")
    data = png({"parameters": INFO}, extra=text_chunk("parameters", other))
    found = gather(data, None).carried
    assert [text.text for text in found.under("parameters")] == [INFO, other]


@pytest.mark.parametrize("where", ["alpha", "RGB"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_lowest_bits(where: str, packed: bool, kind: str) -> None:
    out = io.BytesIO()
    hidden(INFO, where=where, packed=packed).save(out, kind, lossless=True, exact=True)
    assert texts(out.getvalue())[f"{where} bits stealth"] == INFO
    assert recipe_of(read_picture(out.getvalue()))


def test_lowest_bits_that_promise_too_much_are_left_alone() -> None:
    pixels = np.asarray(hidden(INFO, where="RGB"))
    columns = pixels.transpose(1, 0, 2).copy()
    columns.reshape(-1)[15 * 8 : 19 * 8] |= 1  # 2**32 - 1 bits
    assert list(stealth_texts(Image.fromarray(columns.transpose(1, 0, 2).copy()))) == []
    assert list(stealth_texts(Image.new("RGBA", (1, 1)))) == []


def test_a_text_that_unpacks_without_end_is_said_to_be_unread(tmp_path: Path) -> None:
    body = zlib.compress(b"a" * 30_000_000)
    path = tmp_path / "bomb.png"
    path.write_bytes(png(late=True, extra=chunk(b"zTXt", b"parameters\0\0" + body)))
    told = inspect(path)
    assert told["unread"] == ["PNG zTXt parameters"]
    assert told["recipe"] is None


def test_texts_are_told_though_the_pixels_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    whole = png({"parameters": INFO}, image=Image.effect_noise((64, 64), 90).convert("RGB"))
    path.write_bytes(whole[: len(whole) // 2])
    told = inspect(path)
    assert "damaged" in told["error"]
    assert told["recipe"]["seed"] == 5


def test_a_wrong_name_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(with_exif("JPEG", comment=wide_comment(INFO)))
    told = inspect(path)
    assert told["file"]["format"] == "JPEG"
    assert told["recipe"]["seed"] == 5


def test_xmp_in_both_forms_in_each_container() -> None:
    uri = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    for packet in (
        xmp(f'e:DigitalSourceType="{uri}"'),
        xmp(elements=f"<e:DigitalSourceType>{uri}</e:DigitalSourceType>"),
        xmp(elements=f'<e:DigitalSourceType rdf:resource="{uri}"/>'),
    ):
        out = io.BytesIO()
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet)
        files = []
        for kind in ("JPEG", "WEBP", "PNG", "AVIF", "TIFF"):
            out = io.BytesIO()
            options: dict[str, Any] = (
                {"pnginfo": info} if kind == "PNG" else {"xmp": packet.encode()}
            )
            if kind == "TIFF":
                options = {"tiffinfo": {700: packet.encode()}}
            Image.new("RGB", (24, 16)).save(out, kind, **options)
            files.append(out.getvalue())
        for data in files:
            assert texts(data)["XMP Iptc4xmpExt:DigitalSourceType"] == uri


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
def test_an_audit_hears_the_packet_that_only_the_decoder_finds(kind: str) -> None:
    packet = xmp('e:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/x"').encode()
    out = io.BytesIO()
    options: dict[str, Any] = {"xmp": packet} if kind == "AVIF" else {"tiffinfo": {700: packet}}
    Image.new("RGB", (24, 16)).save(out, kind, **options)
    data = out.getvalue()
    told = {text.text for text in gather_decoded(data, read_picture(data).texts).carried.texts}
    assert "http://cv.iptc.org/newscodes/digitalsourcetype/x" in told


def test_iptc_in_a_jpeg() -> None:
    sets = b"".join(b"\x1c\x02" + bytes([n]) + len(t).to_bytes(2, "big") + t
                    for n, t in ((80, "Ana Pé".encode()), (110, b"Made with AI")))  # fmt: skip
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(sets).to_bytes(4, "big") + sets
    plain = with_exif("JPEG")
    segment = b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block
    found = texts(plain[:2] + segment + plain[2:])
    assert (found["IPTC By-line"], found["IPTC Credit"]) == ("Ana Pé", "Made with AI")


def test_a_raw_profile_of_imagemagick() -> None:
    exif = with_exif("JPEG", comment=wide_comment(INFO))
    start = exif.index(b"Exif\0\0")
    body = exif[start : start + int.from_bytes(exif[start - 2 : start], "big") - 2]
    profile = f"\nexif\n{len(body):8}\n{body.hex()}\n"
    assert texts(png({"Raw profile type exif": profile}, kind="zTXt"))["EXIF UserComment"] == INFO


def test_no_number_of_texts_hides_credentials_or_that_more_was_there(tmp_path: Path) -> None:
    signed = (Path(__file__).parent / "expired-signer.png").read_bytes()
    file = tmp_path / "late.png"
    for junk in (text_chunk("a", "b") * 2000, text_chunk("a", "b" * 3_000_000) * 3):
        file.write_bytes(signed[:33] + junk + signed[33:])
        said = inspect(file)
        assert said["credentials"]["outcome"] != "none"
        assert "PNG tEXt further blocks" in said["unread"]


def test_xmp_in_a_gif_ends_where_its_trailer_begins() -> None:
    packet = xmp('dc:description="a fox"').encode()
    out = io.BytesIO()
    Image.new("P", (8, 8)).save(out, "GIF")
    trailer = bytes((1, *range(255, -1, -1), 0))
    data = out.getvalue()[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + trailer + b";"
    assert texts(data)["XMP dc:description"] == "a fox"


def test_credentials_in_a_gif_are_seen() -> None:
    out = io.BytesIO()
    Image.new("P", (8, 8)).save(out, "GIF")
    block = b"\x21\xff\x0bC2PA_GIF\x01\0\0\x04jumb\0"
    data = out.getvalue()
    assert gather(data, None).credentials is False
    assert gather(data[:-1] + block + b";", None).credentials is True
    frame = b"\x2c" + bytes(4) + b"\1\0\1\0\0" + b"\x02\x02\x44\x01\0"
    assert gather(data[:-1] + frame * 20_001 + block + b";", None).credentials is True


def test_a_graph_of_many_walks_ends() -> None:
    """200 models with 50 numbered strengths each, behind chains of 1,700 nodes."""
    nodes: dict[str, Any] = {
        "k": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 2, "model": ["m0", 0]}}
    }
    for number in range(200):
        given: dict[str, Any] = {"model": [f"m{number + 1}", 0]}
        for slot in range(1, 51):
            given |= {f"lora_{slot}": "a", f"lora_wt_{slot}": ["c0", 0]}
        nodes[f"m{number}"] = {"class_type": "L", "inputs": given}
    for number in range(1700):
        link = {"value": [f"c{number + 1}", 0]}
        nodes[f"c{number}"] = {"class_type": "P", "inputs": link}
    graph = Graph(nodes)
    found = _recipe(graph, graph.nodes["k"])
    assert found.seed == 1
    assert graph._steps < 0
    assert graph._steps > -50_000, "and no walk goes on after that"
