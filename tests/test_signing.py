"""What Firsthand signs: who is believed, what breaks it, and that nothing asks the network."""

import base64
import fcntl
import io
import socket
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from PIL import Image
from typer.testing import CliRunner

from provenance.errors import CheckError, UsageError
from provenance.inspect import inspect
from provenance.label import authority
from provenance.label.authority import Credential, local_credential, user_credential
from provenance.label.credentials import read_credentials
from provenance.label.encode import MIME
from provenance.label.labeller import Labelled, Labeller
from provenance.label.profiles import PROFILES, Style
from provenance.label.signing import Signer
from provenance.match import Match, Reference
from provenance.recipe import Recipe
from provenance.verdict import Decision, Verdict
from tests.carriers import text_chunk
from tests.conftest import labeller, root, signer
from tests.test_credentials import certificate
from ui.cli import build

RECIPE = Recipe("a fox", model="starter", model_hash="0123456789", seed=1, steps=2)
EDITED = RECIPE.with_changes(init="in.png", init_hash="ab" * 32, strength=0.5)
VERDICT = Verdict(Decision.CLEAR, (), (), "default-5", "v1", 5)
IMAGE = Image.effect_noise((96, 64), 80).convert("RGB")


def saved(form: str = "png", image: Image.Image = IMAGE) -> Labelled:
    return labeller(Style(form=form))(image, RECIPE, VERDICT)


def outcome(data: bytes, anchors: str | None = None) -> str:
    with Image.open(io.BytesIO(data)) as image:
        found = read_credentials(data, str(image.format), root() if anchors is None else anchors)
    assert found
    return found.outcome


# What breaks a signature


_PIXELS: dict[str, Callable[[bytes], int]] = {
    "png": lambda data: data.index(b"IDAT") + 2000,
    "jpeg": lambda data: len(data) - 2000,
    "webp": lambda data: data.index(b"VP8 ") + 2000,
}


@pytest.mark.parametrize("form", MIME)
def test_a_changed_pixel_breaks_it(form: str) -> None:
    data = saved(form).data
    assert outcome(data) == "trusted"
    middle = _PIXELS[form](data)
    changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    assert read_credentials(changed, form.upper(), root()).outcome == "broken"  # type: ignore[union-attr]


def credentials_chunk(data: bytes) -> bytes:
    start = data.index(b"caBX") - 4
    return data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]


def test_a_moved_manifest_and_a_later_text_break_it() -> None:
    data = saved().data
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.putpixel((0, 0), (1, 2, 3))
    out = io.BytesIO()
    picture.save(out, "PNG")
    bare = out.getvalue()
    assert outcome(bare) == "none"
    assert outcome(bare[:33] + credentials_chunk(data) + bare[33:]) == "broken"
    assert outcome(data[:33] + text_chunk("parameters", "a wolf") + data[33:]) == "broken"


@pytest.mark.parametrize("form", MIME)
def test_an_edited_verdict_breaks_it(form: str, tmp_path: Path) -> None:
    held = Verdict(Decision.REVIEW, ("close to a.png",), (), "default-5", "v1", 5)
    data = labeller(Style(form=form))(IMAGE, RECIPE, held).data
    block = data.index(b"firsthand.verdict")
    at = data.index(b"review", block)
    edited = data[:at] + b"clear!" + data[at + 6 :]
    if form == "png":
        chunk = credentials_chunk(edited)
        edited = edited.replace(chunk[-4:], zlib.crc32(chunk[4:-4]).to_bytes(4, "big"))
    path = tmp_path / "a"
    path.write_bytes(edited)
    row = inspect(path, root())
    assert row["credentials"] == {"outcome": "broken", "signer": None, "verdict": None}
    assert {claim["strength"] for claim in row["claims"]} == {"claimed"}


# Who is believed


def pem(key: Any, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    return data


def on_sm2(key: Any) -> bytes:
    """A key that says it is on a curve which cryptography does not know."""
    data = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    p256, sm2 = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a811ccf5501822d")
    body = base64.encodebytes(data.replace(p256, sm2))
    return b"-----BEGIN PRIVATE KEY-----\n" + body + b"-----END PRIVATE KEY-----\n"


def credential(
    name: str = "Painter", issuer: str = "Root", *, days: float = 30,
    more: tuple[x509.ExtensionType, ...] = (),
) -> Credential:  # fmt: skip
    """Another authority's signer."""
    above, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = (
        certificate(name, key, issuer, above, ca=False, days=days, more=more),
        certificate(issuer, above, issuer, above, ca=True),
    )
    return Credential(pem(key), chain, "es256")


def test_a_forged_certificate_with_the_same_names_is_an_unknown_signer(tmp_path: Path) -> None:
    ours, theirs = credential(), credential()
    assert ours.name == theirs.name == "Test, Painter"
    path = tmp_path / "a.png"
    path.write_bytes(Labeller(Style(), Signer(theirs))(IMAGE, RECIPE, VERDICT).data)
    forged = inspect(path, ours.authority.decode())["credentials"]
    assert forged == {"outcome": "unknown-signer", "signer": None, "verdict": None}
    genuine = inspect(path, theirs.authority.decode())["credentials"]
    assert (genuine["outcome"], genuine["signer"]) == ("trusted", "Test, Painter")


def test_an_expired_signer_is_said() -> None:
    """The file was signed by `credential(days=5 / 86400)`, five seconds before that expired."""
    path = Path(__file__).with_name("expired-signer.png")
    row = inspect(path)["credentials"]
    assert row == {"outcome": "expired-signer", "signer": None, "verdict": None}
    data = path.read_bytes()
    assert outcome(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]) == "broken"


def test_an_expired_certificate_signs_nothing(tmp_path: Path) -> None:
    expired = credential(days=-1)
    (tmp_path / "k").write_bytes(expired.key)
    (tmp_path / "c").write_bytes(expired.chain)
    with pytest.raises(UsageError, match=r"valid from .* to"):
        user_credential(tmp_path / "k", tmp_path / "c")
    with pytest.raises(CheckError, match="cannot be signed"):
        Signer(expired)


@pytest.mark.parametrize(
    ("key", "chain", "said"),
    [("absent", "c", "No such file"), ("k", "absent", "No such file"),
     ("k", "other", "not the key's"), ("locked", "c", "encrypted"), ("c", "c", "PEM|valid|parse"),
     ("k", "k", "PEM|valid|parse"), ("odd", "oddc", "C2PA signs with"),
     ("sm2", "c", "signing_key .*not supported")],
)  # fmt: skip
def test_a_users_key_that_does_not_fit_says_why(
    tmp_path: Path, key: str, chain: str, said: str
) -> None:
    ours = credential()
    private = load_pem_private_key(ours.key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    odd = ec.generate_private_key(ec.SECP256K1())
    for name, data in (
        ("k", ours.key), ("c", ours.chain), ("other", credential().chain), ("odd", pem(odd)),
        ("locked", pem(private, b"secret")), ("sm2", on_sm2(private)),
        ("oddc", certificate("A", odd, "A", odd, ca=False).public_bytes(Encoding.PEM)),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=said):
        user_credential(tmp_path / key, tmp_path / chain)
    assert user_credential(tmp_path / "k", tmp_path / "c") == ours


_KEYS: dict[str, Callable[[], Any]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", _KEYS)
def test_every_kind_of_key_that_c2pa_knows_signs(kind: str, tmp_path: Path) -> None:
    key, above = _KEYS[kind](), _KEYS["es256"]()
    leaf = certificate("Painter", key, "Root", above, ca=False)
    top = certificate("Root", above, "Root", above, ca=True)
    (tmp_path / "k").write_bytes(pem(key))
    (tmp_path / "c").write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in (leaf, top)))
    mine = user_credential(tmp_path / "k", tmp_path / "c")
    assert mine.algorithm == kind
    assert "PRIVATE" not in repr(mine)
    data = Labeller(Style(), Signer(mine))(IMAGE, RECIPE, VERDICT).data
    assert outcome(data, mine.authority.decode()) == "trusted"


def test_a_certificate_for_another_use_is_refused_before_painting() -> None:
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate("A", key, "A", key, ca=True, more=(server,))
    with pytest.raises(CheckError, match="certificate"):
        Signer(Credential(pem(key), (leaf,), "es256"))


# The home's own key


def test_keys_are_their_owners_and_last_ten_years(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    made = local_credential(folder)
    for name in ("authority.pem", "signer.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    years = (made.expires - datetime.now(UTC)) / timedelta(days=365.25)
    assert 9.9 < years < 10.1
    usage = made.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {each.dotted_string for each in usage} == {
        "1.3.6.1.5.5.7.3.4", "1.3.6.1.4.1.62558.2.1",
    }  # fmt: skip
    assert local_credential(folder) == made


def test_processes_at_once_make_one_key(tmp_path: Path) -> None:
    """Four start while the lock is held, and go on together."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "from provenance.label.authority import local_credential\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(local_credential(Path({str(folder)!r})).name)"
    )
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
        for _ in range(4)
    ]
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for each in started:
            assert each.stdout
            assert each.stdin
            assert each.stdout.readline() == "ready\n"
            each.stdin.write("\n")
            each.stdin.flush()
    names = {each.communicate()[0].strip() for each in started}
    assert names == {local_credential(folder).name}


def test_an_expired_key_of_the_homes_is_made_anew_under_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "SIGNER_YEARS", 0)
    old = local_credential(tmp_path)
    monkeypatch.undo()
    new = local_credential(tmp_path)
    assert old.expires < datetime.now(UTC) < new.expires
    assert old.authority == new.authority


def test_a_clock_that_is_behind_makes_no_key_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Behind":
            return cls(1970, 1, 1, tzinfo=tz)

    made = local_credential(tmp_path)
    monkeypatch.setattr(authority, "datetime", Behind)
    assert local_credential(tmp_path) == made


def test_a_damaged_key_file_is_said_and_left_alone(tmp_path: Path) -> None:
    local_credential(tmp_path)
    whole = (tmp_path / "signer.pem").read_bytes()
    for data in (b"", whole[:300], b"-----BEGIN PRIVATE KEY-----\n", b"\xff" * 900):
        (tmp_path / "signer.pem").write_bytes(data)
        with pytest.raises(CheckError, match=r"signer\.pem is damaged"):
            local_credential(tmp_path)
        assert (tmp_path / "signer.pem").read_bytes() == data
    (tmp_path / "signer.pem").unlink()
    assert local_credential(tmp_path)


def test_who_signed_is_known_without_the_authoritys_key(tmp_path: Path) -> None:
    made = local_credential(tmp_path)
    (tmp_path / "authority.pem").unlink()
    assert local_credential(tmp_path) == made
    assert authority.authority_certificate(tmp_path) == made.authority.decode()
    assert authority.authority_certificate(tmp_path / "none") is None


def test_a_home_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(CheckError, match="pictures cannot be signed"):
        local_credential(tmp_path / "home" / "credentials")


def test_many_threads_sign_with_one_signer() -> None:
    pictures = [Image.new("RGB", (32, 32), (each, 0, 0)) for each in range(40)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda image: saved(image=image), pictures))
    assert {outcome(each.data) for each in made} == {"trusted"}
    assert len({each.labels["manifest"] for each in made}) == 40


# What a picture was made from


def began(data: bytes, form: str = "png") -> Labelled:
    made = Labeller(Style(PROFILES["cn"], form), signer(), init=lambda recipe: data)
    return made(IMAGE, EDITED, VERDICT)


def row_of(made: Labelled, tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / f"out{made.suffix}"
    path.write_bytes(made.data)
    return inspect(path, root())


@pytest.mark.parametrize("form", MIME)
def test_a_signed_input_becomes_an_ingredient_and_its_labels_are_kept(
    form: str, tmp_path: Path
) -> None:
    source = labeller(Style(PROFILES["cn"], form, provider="雪"))(IMAGE, RECIPE, VERDICT)
    made = began(source.data, form)
    row = row_of(made, tmp_path)
    assert row["credentials"]["outcome"] == "trusted"
    assert {"uri": "in.png", "why": "C2PA ingredient (parentOf)"} in row["parents"]
    (note,) = [each["raw"] for each in row["found"] if source.labels["manifest"] in each["source"]]
    assert source.labels["manifest"] in note
    signed = [(c["what"], c["value"]) for c in row["claims"] if c["strength"] == "signed"]
    assert ("ai-edited", "compositeWithTrainedAlgorithmicMedia") in signed
    assert ("ai-generated", "trainedAlgorithmicMedia") in signed
    own = next(each for each in row["found"] if each["tool"] == "Firsthand")
    assert "雪" in own["raw"]
    xmp = [c["value"] for c in row["claims"] if "DigitalSourceType" in c["source"]]
    assert xmp == ["compositeWithTrainedAlgorithmicMedia"]


def test_a_broken_input_stays_broken_and_its_words_are_not_signed(tmp_path: Path) -> None:
    source = saved("jpeg").data
    at = source.index(b"trainedAlgorithmicMedia", source.index(b"c2pa.actions"))
    edited = source[:at] + b"trainedAlgorithmicMedib" + source[at + 23 :]
    row = row_of(began(edited, "jpeg"), tmp_path)
    assert row["credentials"]["outcome"] == "trusted"
    claimed = {c["value"]: c["strength"] for c in row["claims"] if "AlgorithmicMed" in c["value"]}
    assert claimed["trainedAlgorithmicMedib"] == "claimed"


def test_an_input_without_credentials_is_named(tmp_path: Path) -> None:
    for form in ("PNG", "BMP", "GIF", "TIFF"):
        out = io.BytesIO()
        IMAGE.save(out, form)
        row = row_of(began(out.getvalue()), tmp_path)
        assert row["credentials"]["outcome"] == "trusted"
        (why,) = [each["why"] for each in row["parents"] if "C2PA" in each["why"]]
        assert why.startswith("C2PA ingredient (parentOf): began the painting")


def test_references_are_named_where_the_policy_says_so(tmp_path: Path) -> None:
    near = Match(
        Reference(1, "https://g.example/7", "g", "seven"), {"pdq-256": 0.9}, 0.6, "look-alike"
    )
    far = Match(
        Reference(2, "https://g.example/8", "g", "eight"), {"pdq-256": 0.5}, 0.3, "look-alike"
    )
    held = Verdict(Decision.REVIEW, ("close to seven",), (near, far), "default-5", "v1", 5)
    for cite in (False, True):
        made = Labeller(Style(), signer(), cite=cite)(IMAGE, RECIPE, held)
        row = row_of(made, tmp_path)
        cited = [parent["uri"] for parent in row["parents"] if "C2PA" in parent["why"]]
        assert cited == (["seven"] if cite else [])
        assert ("not known to be used" in str(row["parents"])) == cite
        assert row["credentials"]["verdict"]["nearest"][0]["similarity"] == {"pdq-256": 0.9}
        assert (b"g.example/7" in made.data) == cite
        assert (b"close to seven" in made.data) == cite
        assert (b"close to a known picture" in made.data) != cite
        assert b"g.example/8" not in made.data


# The network


@contextmanager
def server(answer: int = 404) -> Iterator[tuple[str, list[str]]]:
    """A server that counts what it is asked, at its address."""
    asked: list[str] = []

    class Counting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Counting) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def test_nothing_is_asked_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates with an OCSP responder, an input that points to a remote manifest."""

    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    with server() as (address, asked):
        monkeypatch.setattr(socket.socket, "connect", no_socket)
        responder = x509.AuthorityInformationAccess(
            [x509.AccessDescription(AuthorityInformationAccessOID.OCSP,
                                    x509.UniformResourceIdentifier(address))]
        )  # fmt: skip
        remote = io.BytesIO()
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
            'rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
            f'dcterms:provenance="{address}/m.c2pa"/></rdf:RDF></x:xmpmeta>'
        )
        IMAGE.save(remote, "JPEG", xmp=packet.encode())
        mine = credential(more=(responder,))
        made = Labeller(Style(), Signer(mine), init=lambda recipe: remote.getvalue())
        path = tmp_path / "a.png"
        path.write_bytes(made(IMAGE, EDITED, VERDICT).data)
        assert inspect(path, mine.authority.decode())["credentials"]["outcome"] == "trusted"
        (tmp_path / "remote.jpg").write_bytes(remote.getvalue())
        assert inspect(tmp_path / "remote.jpg")["credentials"]["outcome"] == "remote-only"
        assert asked == []
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(remote.getvalue()))
        assert asked == ["/m.c2pa"], "the library's own defaults would have asked"


def test_a_timestamp_authority_that_fails_is_said_and_left_alone_for_a_while() -> None:
    with server(500) as (address, asked):
        mine = credential()
        timed = Credential(mine.key, mine.certificates, mine.algorithm, f"{address}/tsa")
        making = Labeller(Style(), Signer(timed))
        first, second = (making(IMAGE, RECIPE, VERDICT) for _ in range(2))
        assert asked == ["/tsa"]
    for each in (first, second):
        assert outcome(each.data, mine.authority.decode()) == "trusted"
        assert each.labels["notes"][0].startswith("no timestamp")


# The commands


def firsthand(*words: str) -> Any:
    return CliRunner().invoke(build(), words)


def test_this_home_believes_itself_and_others_who_have_its_certificate(tmp_path: Path) -> None:
    home, other, exported = tmp_path / "home", tmp_path / "other", tmp_path / "ca.pem"
    shown = firsthand("credentials", "--export", str(exported), "--home", str(home))
    assert shown.exit_code == 0, shown.output
    mine = local_credential(home / "credentials")
    assert mine.name in shown.stdout
    assert f"{mine.expires:%Y-%m-%d}" in shown.stdout
    assert exported.read_bytes() == mine.authority
    assert b"PRIVATE" not in exported.read_bytes()
    path = tmp_path / "a.png"
    path.write_bytes(Labeller(Style(), Signer(mine))(IMAGE, RECIPE, VERDICT).data)

    def seen(*words: str) -> str:
        return str(firsthand("inspect", str(path), *words).stdout)

    assert f"signed by {mine.name}" in " ".join(seen("--home", str(home)).split())
    assert "by whom is not known" in seen("--home", str(other))
    assert not other.exists(), "reading makes no key"
    trusting = seen("--home", str(other), "--trust", str(exported))
    assert f"signed by {mine.name}" in " ".join(trusting.split())
    other.mkdir()
    (other / "settings.toml").write_text('trust = "../ca.pem"\n')
    assert f"signed by {mine.name}" in " ".join(seen("--home", str(other)).split())


def test_a_trust_list_may_have_words_between_its_certificates(tmp_path: Path) -> None:
    mine, other = credential(), credential()
    path, trust = tmp_path / "a.png", tmp_path / "list.pem"
    path.write_bytes(Labeller(Style(), Signer(mine))(IMAGE, RECIPE, VERDICT).data)
    words = "# 某证书 / Ärger\r\nSubject: CN=-----\n".encode()
    trust.write_bytes(words + other.authority + words + mine.authority.rstrip() + words)
    seen = firsthand("inspect", str(path), "--trust", str(trust))
    assert "signed by Test, Painter" in " ".join(seen.stdout.split())
    for data in (b"", words, mine.key):
        trust.write_bytes(data)
        wrong = firsthand("inspect", str(path), "--trust", str(trust))
        assert "holds no certificate" in str(wrong.exception)


def test_the_users_own_key_is_shown(tmp_path: Path) -> None:
    mine = credential()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "k.pem").write_bytes(mine.key)
    (tmp_path / "home" / "c.pem").write_bytes(mine.chain)
    settings = tmp_path / "home" / "settings.toml"
    settings.write_text('signing_key = "k.pem"\nsigning_chain = "c.pem"\n')
    home = ("--home", str(tmp_path / "home"))
    assert "Test, Painter (es256)" in firsthand("credentials", *home).stdout
    wrong = firsthand("credentials", "--export", str(tmp_path / "x"), *home)
    assert isinstance(wrong.exception, UsageError)
    settings.write_text('signing_key = "k.pem"\n')
    assert "go together" in str(firsthand("credentials", *home).exception)
    assert not (tmp_path / "home" / "credentials").exists()
