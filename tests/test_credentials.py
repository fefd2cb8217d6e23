"""Content Credentials: what is intact, by whom, and what is broken; nothing is fetched."""

import io
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance.errors import UsageError
from provenance.inspect import inspect
from provenance.label.credentials import read_credentials
from tests.carriers import png, text_chunk, xmp

SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "c2pa"
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def usage_of(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def certificate(name: str, key: Any, issuer: str,
                by: ec.EllipticCurvePrivateKey, *, ca: bool, days: float = 30,
                more: tuple[x509.ExtensionType, ...] = ()) -> x509.Certificate:  # fmt: skip
    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
                          x509.NameAttribute(NameOID.COMMON_NAME, common)])  # fmt: skip

    now = datetime.now(UTC) - timedelta(days=60)
    built = (
        x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now).not_valid_after(now + timedelta(days=60 + days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage_of(ca), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )  # fmt: skip
    if not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        built = built.add_extension(usage, critical=False)
    for extension in more:
        built = built.add_extension(extension, critical=False)
    return built.sign(by, hashes.SHA256())


def authority() -> tuple[str, Any]:
    """A root (PEM), and a signer whose certificate it issued."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("Root", root_key, "Root", root_key, ca=True)
    leaf = certificate("Painter", key, "Root", root_key, ca=False)
    chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (leaf, root))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", chain, private, None))
    return root.public_bytes(serialization.Encoding.PEM).decode(), signer


ROOT, SIGNER = authority()
SETTINGS = {"version": 1, "builder": {"thumbnail": {"enabled": False}},
            "trust": {"user_anchors": ROOT}}  # fmt: skip


def signed(data: bytes) -> bytes:
    manifest = {
        "claim_generator_info": [{"name": "Painter", "version": "2"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [
            {"action": "c2pa.created", "digitalSourceType": AI, "softwareAgent": {"name": "m"}}]}}],
    }  # fmt: skip
    out = io.BytesIO()
    with c2pa.Builder(manifest, context=c2pa.Context.from_dict(SETTINGS)) as builder:
        builder.sign(SIGNER, "image/png", io.BytesIO(data), out)
    return out.getvalue()


@pytest.fixture(scope="module")
def picture() -> bytes:
    return signed(png(image=Image.effect_noise((64, 64), 80).convert("RGB")))


def outcome(data: bytes, anchors: str = ROOT) -> str | None:
    found = read_credentials(data, "PNG", anchors)
    return found.outcome if found else None


def test_a_trusted_signer_is_named_and_its_claims_are_signed(
    picture: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture)
    row = inspect(path, ROOT)
    assert row["credentials"] == {"outcome": "trusted", "signer": "Test, Painter", "verdict": None}
    assert row["made_by"]["tool"] == "Painter 2"
    strengths = {claim["what"]: claim["strength"] for claim in row["claims"]}
    assert strengths["ai-generated"] == "signed"


def test_an_unknown_signer_is_not_named(picture: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture)
    other, _ = authority()  # its root has the same names
    for anchors in ("", other):
        row = inspect(path, anchors)
        assert (row["credentials"]["outcome"], row["credentials"]["signer"]) == (
            "unknown-signer",
            None,
        )
        assert {claim["strength"] for claim in row["claims"]} == {"claimed"}


def test_changes_break_it(picture: bytes) -> None:
    later = picture[:33] + text_chunk("parameters", "a fox") + picture[33:]
    assert outcome(later) == "broken"
    start = picture.index(b"caBX") - 4
    block = picture[start : start + 12 + int.from_bytes(picture[start : start + 4], "big")]
    moved = png(image=Image.effect_noise((64, 64), 80).convert("RGB"))
    assert outcome(moved[:33] + block + moved[33:]) == "broken"
    edited = picture.replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicMedib")
    assert outcome(edited) == "broken"


def test_no_credentials() -> None:
    assert outcome(png()) == "none"
    assert read_credentials(b"BM", "BMP") is None


def test_anchors_that_are_no_certificates_are_wrong_use(picture: bytes) -> None:
    with pytest.raises(UsageError, match="PEM"):
        read_credentials(picture, "PNG", "not a certificate")


def test_a_remote_manifest_is_never_asked_for() -> None:
    hits: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/m.c2pa"
        info = PngInfo()
        packet = xmp(f'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{uri}"')
        info.add_itxt("XML:com.adobe.xmp", packet)
        out = io.BytesIO()
        Image.new("RGB", (24, 16)).save(out, "PNG", pnginfo=info)
        assert outcome(out.getvalue()) == "remote-only"
        server.shutdown()
    assert hits == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="real files are not at hand")
@pytest.mark.parametrize(
    ("file", "expected"),
    [("c2pars_CA.jpg", "unknown-signer"), ("c2pars_E-sig-CA.jpg", "broken"),
     ("c2pars_XCA.jpg", "broken"), ("c2pars_cloud_remote_manifest.jpg", "remote-only"),
     ("chatgpt-1.png", "expired-signer"), ("flux-1.jpg", "expired-signer"), ("mj-1.png", "none")],
)  # fmt: skip
def test_real_files(file: str, expected: str) -> None:
    row = inspect(SHARED / file)
    assert row["credentials"]["outcome"] == expected
    generated = [claim for claim in row["claims"] if claim["what"] == "ai-generated"]
    assert bool(generated) == file.startswith(("chatgpt", "flux", "mj"))
    assert all(claim["strength"] == "claimed" for claim in generated)
