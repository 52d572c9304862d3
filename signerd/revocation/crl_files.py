"""The signed CRLs, each in a file beside the ledger, which holds the SHA-256 of what was signed.

A file is a copy and nothing more: whoever reads one holds it against the ledger. One that is missing, or is not
what was recorded, costs a new CRL; it never makes a wrong one be served.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from protocol.wire import FRAME_BYTES_MAX
from signerd import der
from signerd.certificate import Issuer
from signerd.files import write_private_file
from signerd.key import signature_hash
from signerd.ledger.index import ALL_SHARDS, CA_CERTIFICATES
from signerd.signatures import is_signed_by

_log = logging.getLogger(__name__)
_SCOPES = {ALL_SHARDS: "all", CA_CERTIFICATES: "ca"}


class CrlFiles:
    """The last CRL of each scope, in a file that is named by the scope and by the entry that recorded it."""

    def __init__(self, ledger: Path) -> None:
        self.directory = ledger.with_name(f"{ledger.name}.crls")
        self._there: set[str] = set()
        self._unwritten: dict[str, bytes] = {}  # what could not be written
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._there.update(path.name for path in self.directory.iterdir())
        except OSError as error:
            _log.warning("%s: %s; CRLs are kept in memory", self.directory, error.strerror)

    def keep_only(self, scopes: Iterable[int]) -> None:
        """Removes what is no CRL of these scopes: what a crash left half written, too."""
        names = tuple(map(_prefix, scopes))
        self._remove({name for name in self._there if not name.startswith(names)})

    def has(self, scope: int, seq: int) -> bool:
        """Whether there is the CRL that entry ``seq`` recorded, as far as its name tells."""
        name = _name(scope, seq)
        return name in self._there or name in self._unwritten

    def write(self, scope: int, seq: int, crl: bytes) -> None:
        """Puts a CRL in the place of the one before it, durably. Where that can't be, it is kept in memory."""
        name = _name(scope, seq)
        try:
            write_private_file(self.directory / name, crl)
            self._there.add(name)
        except OSError as error:
            _log.warning("the CRL %s can't be written (%s): it is kept in memory", name, error.strerror)
            self._unwritten[name] = crl
        before = {one for one in {*self._there, *self._unwritten} if one.startswith(_prefix(scope))}
        self._remove(before - {name})

    def read(self, scope: int, seq: int, digest: bytes, issuer: Issuer) -> bytes | None:
        """The CRL that entry ``seq`` recorded, by ``issuer`` and with this SHA-256 over what was signed; or None,
        and then there is none any more."""
        name = _name(scope, seq)
        crl = self._unwritten.get(name, b"")
        with contextlib.suppress(OSError):
            crl = crl or _read(self.directory / name)
        if is_as_recorded(crl, digest, issuer):
            return crl
        _log.warning("the CRL %s is not what was recorded: a new one is signed", name)
        self._remove({name})
        return None

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._there.discard(name)
            self._unwritten.pop(name, None)
            with contextlib.suppress(OSError):
                (self.directory / name).unlink()


def _prefix(scope: int) -> str:
    return f"{_SCOPES.get(scope, scope)}."


def _name(scope: int, seq: int) -> str:
    return f"{_prefix(scope)}{seq}.crl"


def _read(path: Path) -> bytes:
    """What is in a file, up to what a reply can hold. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(FRAME_BYTES_MAX)


def is_as_recorded(crl: bytes, digest: bytes, issuer: Issuer) -> bool:
    """Whether these bytes are a CertificateList (RFC 5280, 5.1) by ``issuer``, and ``digest`` is the SHA-256 of its
    to-be-signed bytes."""
    try:
        (whole,) = der.parts(crl)
        to_be_signed, _, signature = der.parts(whole.value)
    except ValueError:
        return False
    key, octets = issuer.public_key, signature.value[1:]
    return (
        crl == der.signed(to_be_signed.whole, octets, issuer.signature_algorithm)
        and hashlib.sha256(to_be_signed.whole).digest() == digest
        and is_signed_by(key, octets, to_be_signed.whole, signature_hash(key))
    )
