"""The key and the certificates that pictures are signed with: this home's own, or the user's.

The home's own are made when first needed: a local authority (a root certificate) and a signer whose
certificate it issues, in the profile of C2PA 2.2, section 14.5. Who is given the authority's
certificate can tell this home's pictures from all others; to everybody else the signer is unknown.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provenance.errors import CheckError, UsageError
from provenance.files import write_whole

AUTHORITY, SIGNER = "authority.pem", "signer.pem"
AUTHORITY_YEARS, SIGNER_YEARS = 30, 10

_CLAIM_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # c2pa-kp-claimSigning
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Credential:
    """A private key (PEM, PKCS8) and its certificate with those above it, the leaf first."""

    key: bytes = field(repr=False)
    certificates: tuple[x509.Certificate, ...]
    algorithm: str
    timestamp_authority: str | None = None

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def chain(self) -> bytes:
        return b"".join(map(_pem, self.certificates))

    @property
    def authority(self) -> bytes:
        """The certificate above all others (PEM): whoever trusts it believes the signature."""
        return _pem(self.certificates[-1])

    @property
    def name(self) -> str:
        """Organisation and common name, as readers of the files see them."""
        kinds = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        found = [each for kind in kinds for each in self.leaf.subject.get_attributes_for_oid(kind)]
        return ", ".join(str(each.value) for each in found)

    @property
    def expires(self) -> datetime:
        return self.leaf.not_valid_after_utc


def local_credential(folder: Path) -> Credential:
    """The home's own signer, made where there is none or it has expired.

    Key files are readable by their owner only. Two processes at once make one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder):
            if (kept := _kept(folder / SIGNER)) and not _expired(kept.leaf):
                return kept
            authority = _kept(folder / AUTHORITY)
            if authority is None or _expired(authority.leaf):
                authority = _write(folder / AUTHORITY, *_authority())
            return _write(folder / SIGNER, *_signer(authority))
    except OSError as error:
        raise CheckError(f"pictures cannot be signed: {folder}: {error.strerror}") from None


def authority_certificate(folder: Path) -> str | None:
    """The local authority's certificate (PEM), for others to trust; None where there is none."""
    kept = _kept(folder / SIGNER)
    return kept.authority.decode() if kept else None


def user_credential(key: Path, chain: Path, timestamp_authority: str | None = None) -> Credential:
    """The user's own key and certificates (PEM). Raises UsageError saying what does not fit."""
    try:
        made = _read(key.read_bytes(), chain.read_bytes(), timestamp_authority)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        why = str(error).partition(". See")[0]
        raise UsageError(f"signing_key {key}, signing_chain {chain}: {why}") from None
    since, until = made.leaf.not_valid_before_utc, made.expires
    if since > datetime.now(UTC) or _expired(made.leaf):
        raise UsageError(f"{chain}: the certificate is valid from {since:%Y-%m-%d} to {until:%F}")
    return made


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _kept(path: Path) -> Credential | None:
    try:
        data = path.read_bytes()
        return _read(data, data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        why = str(error).partition(". See")[0]
        raise CheckError(
            f"{path} is damaged: {why}; put it back, or remove it and another is made"
        ) from None


def _read(key: bytes, chain: bytes, timestamp_authority: str | None = None) -> Credential:
    """Raises ValueError where key and first certificate are not readable or not a pair."""
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise ValueError("the key is encrypted; give it without a passphrase") from None
    certificates = tuple(x509.load_pem_x509_certificates(chain))
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if certificates[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise ValueError("the first certificate is not the key's")
    algorithm = _algorithm(private)
    return Credential(_private_pem(private), certificates, algorithm, timestamp_authority)


def _write(
    path: Path, key: ec.EllipticCurvePrivateKey, certificates: tuple[x509.Certificate, ...]
) -> Credential:
    made = Credential(_private_pem(key), certificates, _algorithm(key))
    write_whole(path, made.key + made.chain, mode=0o600)
    return made


def _algorithm(key: PrivateKeyTypes) -> str:
    """In C2PA's words (2.2, section 13.2)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError("C2PA signs with ECDSA (P-256, P-384, P-521), Ed25519 or RSA keys")


def _expired(certificate: x509.Certificate) -> bool:
    """By the clock; one that is behind makes no certificate anew."""
    return certificate.not_valid_after_utc <= datetime.now(UTC)


_Made = tuple[ec.EllipticCurvePrivateKey, tuple[x509.Certificate, ...]]


def _authority() -> _Made:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("local authority", key)
    built = _unsigned(name, key, name, key, AUTHORITY_YEARS, ca=True)
    return key, (built.sign(key, hashes.SHA256()),)


def _signer(authority: Credential) -> _Made:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = load_pem_private_key(authority.key, None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    name, issued_by = _named("signer", key), authority.leaf.subject
    built = _unsigned(name, key, issued_by, issuer, SIGNER_YEARS, ca=False).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, _CLAIM_SIGNING]), False
    )
    return key, (built.sign(issuer, hashes.SHA256()), authority.leaf)


def _unsigned(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    years: int,
    *,
    ca: bool,
) -> x509.CertificateBuilder:
    since = datetime.now(UTC) - timedelta(days=1)  # for clocks that are behind
    public, above = key.public_key(), issuer_key.public_key()
    return (
        x509.CertificateBuilder(issuer, name, public, x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=round(365.25 * years) + 1))
        .add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
        .add_extension(_usage(ca), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), False)
    )


def _usage(ca: bool) -> x509.KeyUsage:
    """The leaf signs pictures, the authority certificates."""
    others = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False
    )  # fmt: skip
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **others)


def _named(role: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Told apart by the key alone: nothing of the machine or the user is in the name."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]
    parts = {NameOID.ORGANIZATION_NAME: "Firsthand", NameOID.COMMON_NAME: f"{role} {digest}"}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
