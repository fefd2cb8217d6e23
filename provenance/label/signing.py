"""Signs files with Content Credentials (C2PA). Knows nothing of what the manifests say.

The only network use is the timestamp authority, where one is configured; without it the signature
is believed for as long as the certificate is valid.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provenance.errors import CheckError
from provenance.label.authority import Credential
from provenance.label.credentials import OFFLINE

_PATIENCE = 600  # seconds before a timestamp authority that failed is asked again


@dataclass(frozen=True)
class Ingredient:
    """What a file was made from: an entry in the manifest; its bytes where it has credentials."""

    entry: dict[str, Any]
    mime: str = ""
    data: bytes | None = None


class Signer:
    """Holds a credential, and when its timestamp authority may be asked again."""

    def __init__(self, credential: Credential) -> None:
        import c2pa

        def signer(timestamps: str | None) -> Any:
            held = credential.algorithm, credential.chain, credential.key, timestamps
            try:
                return c2pa.Signer.from_info(c2pa.C2paSignerInfo(*held))
            except c2pa.C2paError as error:
                raise CheckError(f"pictures cannot be signed: {error}") from None

        self.credential = credential
        self._context = c2pa.Context.from_dict(
            OFFLINE | {"builder": {"thumbnail": {"enabled": False}}}
        )
        self._plain = signer(None)
        timestamps = credential.timestamp_authority
        self._timed = signer(timestamps) if timestamps else None
        self._ask_again = 0.0
        self._signed(self._plain, _TINY, "image/gif", _TRIAL, ())

    def sign(
        self, data: bytes, mime: str, manifest: dict[str, Any], made_from: Sequence[Ingredient] = ()
    ) -> tuple[bytes, str | None]:
        """The signed file, and why it has no timestamp, where one was to be had.

        Signing is the last thing done to a file: any change after it breaks the signature. What was
        written is read again and verified. Raises CheckError.
        """
        missed = None
        if self._timed is not None:
            if time.monotonic() < self._ask_again:
                missed = "no timestamp: the timestamp authority did not answer a while ago"
            else:
                try:
                    return self._signed(self._timed, data, mime, manifest, made_from), None
                except CheckError as error:
                    self._ask_again = time.monotonic() + _PATIENCE
                    missed = f"no timestamp: {str(error).splitlines()[0]}"
        return self._signed(self._plain, data, mime, manifest, made_from), missed

    def _signed(
        self, signer: Any, data: bytes, mime: str, manifest: dict[str, Any],
        made_from: Sequence[Ingredient],
    ) -> bytes:  # fmt: skip
        import c2pa

        out = io.BytesIO()
        bare = {"ingredients": [each.entry for each in made_from if each.data is None]}
        whole = [(each.entry, each.mime, each.data) for each in made_from if each.data is not None]
        try:
            with c2pa.Builder(manifest | bare, context=self._context) as builder:
                for entry, kind, held in whole:
                    builder.add_ingredient(entry, kind, io.BytesIO(held))
                builder.sign(signer, mime, io.BytesIO(data), out)
        except c2pa.C2paError as error:
            raise CheckError(f"the picture cannot be signed: {error}") from None
        return out.getvalue()


# What shows, before anything is painted, that a credential cannot sign: 1 x 1 pixel, made.
_TRIAL = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [
    {"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}]}}],
}  # fmt: skip
_TINY = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
