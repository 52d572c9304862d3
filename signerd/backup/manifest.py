"""A backup's manifest: which files it holds, whose they are, and their hashes; and why it is believed.

The ledger key signed it, in a root's process that read the key from its file: nothing on a socket signs one. A
statement by the CA's key, from the ledger's first entries, names the ledger key; the operator names the CA's
certificate by its fingerprint. So whoever can write a backup can't have anything of theirs restored from it.
"""

import re
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from signerd.backup.places import UNITS, Places
from signerd.backup.sealing import SALT_BYTES
from signerd.ledger.ledger_key import LedgerKey, is_backup_signed
from signerd.trust import CaTrust

# In a backup: this, its proof, and the files under the paths that they have on the machine.
MANIFEST_NAME, PROOF_NAME, FILES_NAME = "manifest.json", "proof.json", "files"

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotBelieved(ValueError):
    """Why a backup is not one of this CA's, or is not what it was."""


class Directory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A directory of the installation. ``mode`` is in octal digits."""

    path: str
    mode: str
    owner: str
    group: str


class File(Directory, frozen=True, forbid_unknown_fields=True):
    """A file of the installation; ``size`` (bytes) and ``sha256`` are of what lies in the backup, ``sealed`` whether
    that is encrypted."""

    size: int
    sha256: str
    sealed: bool


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``time`` is in seconds since the epoch; ``salt`` and ``check`` are the sealer's, in hexadecimal. ``credential``:
    how systemd kept the passphrase. ``units``: those that were enabled; ``site``: whether nginx's was."""

    version: Literal[1]
    time: int
    salt: str
    check: str
    credential: Literal["encrypted", "plain", "none"]
    units: tuple[str, ...]
    site: bool
    directories: tuple[Directory, ...]
    files: tuple[File, ...]


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What leads from the CA's certificate (PEM) to the manifest. The signatures are base64 in JSON."""

    certificate: str
    statement: str
    statement_signature: bytes
    signature: bytes


def encode(value: Manifest | Proof) -> bytes:
    """As JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def prove(manifest: bytes, key: LedgerKey, certificate: str, statement: tuple[bytes, bytes]) -> Proof:
    """``statement``: the one that names ``key``, and its signature by the key of ``certificate``."""
    return Proof(certificate, statement[0].decode(), statement[1], key.sign_backup(manifest))


def believe(manifest: bytes, proof: bytes, fingerprint: str) -> Manifest:
    """The manifest, if the CA whose certificate has this SHA-256 ``fingerprint`` made it. Raises NotBelieved."""
    try:
        given = msgspec.json.decode(proof, type=Proof)
        certificate = x509.load_pem_x509_certificate(given.certificate.encode())
    except ValueError as error:  # msgspec's are ValueErrors too
        raise NotBelieved(f"the backup's proof can't be read: {error}") from None
    if certificate.fingerprint(hashes.SHA256()).hex() != fingerprint:
        raise NotBelieved("the backup is of a CA whose certificate has another fingerprint")
    public = CaTrust(certificate).ledger_key(given.statement.encode(), given.statement_signature)
    if public is None or not is_backup_signed(public, manifest, given.signature):
        raise NotBelieved("the manifest is not signed by this CA's ledger key: the backup is not what it was")
    try:
        return msgspec.json.decode(manifest, type=Manifest)
    except ValueError as error:
        raise NotBelieved(f"the manifest can't be read: {error}") from None


def check(manifest: Manifest, places: Places) -> None:
    """Refuses what no restore does, whoever signed it: any place but those of the closed list. Raises NotBelieved."""
    for entry in (*manifest.directories, *manifest.files):
        allows = places.allows if isinstance(entry, File) else places.allows_directory
        if not allows(entry.path):
            raise NotBelieved(f"{entry.path!r} is no place of an installation's")
        if not re.fullmatch("0?[0-7]{3}", entry.mode):
            raise NotBelieved(f"{entry.path}: {entry.mode!r} is no mode")
        if isinstance(entry, File) and not _SHA256.fullmatch(entry.sha256):
            raise NotBelieved(f"{entry.path}: {entry.sha256!r} is no hash")
    paths = [entry.path for entry in (*manifest.directories, *manifest.files)]
    if len(set(paths)) != len(paths):
        raise NotBelieved("the manifest names a path twice")
    if not set(manifest.units) <= set(UNITS):
        raise NotBelieved("the manifest names units that are not signerd's")
    if not re.fullmatch(f"[0-9a-f]{{{2 * SALT_BYTES}}}", manifest.salt) or not re.fullmatch(
        "[0-9a-f]+", manifest.check
    ):
        raise NotBelieved("the manifest's salt can't be read")


def read_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as people type it, with colons or without. Raises ValueError."""
    fingerprint = re.sub(r"[:\s]", "", text).lower().removeprefix("sha256fingerprint=")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError("a SHA-256 fingerprint is 64 hexadecimal digits, with colons or without")
    return fingerprint
