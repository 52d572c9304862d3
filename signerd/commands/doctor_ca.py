"""ca_admin doctor: the CA's identity, and the passphrase that opens its key."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from protocol.errors import ConfigurationError
from protocol.times import rfc3339
from signerd.as_user import acting_as
from signerd.ca_certificate import check_chain, check_own_certificate, load_chain
from signerd.commands.doctor_passphrase import Source
from signerd.commands.finding import Finding, Level
from signerd.files import Owner
from signerd.identity import CERTIFICATE_NAMES, PRIVATE_KEY_NAME, PUBLIC_KEY_NAME
from signerd.ledger_key_file import LEDGER_KEY_NAME, read_ledger_key

_DAY = 86_400
_RENEW = "renew it in good time: docs/operate.md says how"


def check_identity(directory: Path, longest: int, now: int) -> Iterator[Finding]:
    """The certificate can be a CA's, and lives longer than the ``longest`` certificate it may issue (seconds)."""
    found = [directory / name for name in CERTIFICATE_NAMES if (directory / name).exists()]
    if not found:
        detail = f"{directory} holds no {CERTIFICATE_NAMES[0]}"
        yield Finding("identity", Level.PROBLEM, detail, "ca_create_identity makes one; or copy your own there")
        return
    try:
        chain = load_chain(found[0].read_bytes(), str(found[0]))
        check_own_certificate(chain[0], str(found[0]), now)
        check_chain(chain, str(found[0]), now)
    except ConfigurationError as error:
        yield Finding("identity", Level.PROBLEM, str(error), _RENEW)
        return
    yield _expiry(chain, longest, now)
    key = directory / PRIVATE_KEY_NAME
    if not key.exists():
        yield Finding("identity", Level.PROBLEM, f"{key} isn't there", "bring it back from a backup")
    elif not re.search(rb"ENCRYPTED", key.read_bytes()):
        detail = f"{key} is not encrypted: whoever gets hold of a copy of it is this CA"
        yield Finding("identity", Level.WARNING, detail, f"openssl pkcs8 -topk8 -scrypt -in {key} -out NEW")


def _expiry(chain: tuple[x509.Certificate, ...], longest: int, now: int) -> Finding:
    end = min(int(certificate.not_valid_after_utc.timestamp()) for certificate in chain)
    detail = f"{chain[0].subject.rfc4514_string()} is valid until {rfc3339(end)}, {(end - now) // _DAY} days"
    if end - now < longest:
        return Finding("identity", Level.WARNING, f"{detail}: less than a certificate may live", _RENEW)
    return Finding("identity", Level.OK, detail)


def check_keys(directory: Path, ledger: Path, source: Source, signer: Owner) -> Iterator[Finding]:
    """The passphrase that the signer will find opens both keys, and the CA's key is the certificate's."""
    yield from _check_passphrase(directory, source)
    yield from _check_ledger_key(directory, ledger, source.passphrase, signer)


def _check_passphrase(directory: Path, source: Source) -> Iterator[Finding]:
    path = directory / PRIVATE_KEY_NAME
    if not path.exists():
        return
    content = path.read_bytes()
    if b"ENCRYPTED" not in content:
        yield from _check_pair(directory, load_pem_private_key(content, None).public_key())
        return
    yield from source.findings
    if source.passphrase is None:
        return
    try:
        key = load_pem_private_key(content, source.passphrase)
    except (ValueError, TypeError):
        detail = f"the one {source.where} doesn't open {path}"
        yield Finding("passphrase", Level.PROBLEM, detail, source.advice)
        return
    yield Finding("passphrase", Level.OK, f"the one {source.where} opens the key")
    yield from _check_pair(directory, key.public_key())


def _check_ledger_key(directory: Path, ledger: Path, passphrase: bytes | None, signer: Owner) -> Iterator[Finding]:
    """The key that signs the ledger is there, and opens as the CA's key does: by ``passphrase``, if at all."""
    path = directory / PRIVATE_KEY_NAME
    if not path.exists() or (passphrase is None and b"ENCRYPTED" in path.read_bytes()):
        return
    renew = "docs/operate.md says how to bring it back; a new one: ca_admin ledger-key renew"
    try:
        with acting_as(signer if os.geteuid() == 0 else Owner(os.geteuid(), os.getegid())):
            key = read_ledger_key(directory, passphrase if b"ENCRYPTED" in path.read_bytes() else None)
    except ConfigurationError as error:
        yield Finding("ledger key", Level.PROBLEM, str(error), renew)
        return
    if key is not None:
        yield Finding("ledger key", Level.OK, f"{directory / LEDGER_KEY_NAME} opens as the CA's key does")
    elif ledger.exists():
        yield Finding("ledger key", Level.PROBLEM, f"{directory / LEDGER_KEY_NAME} is missing", renew)


def _check_pair(directory: Path, key: PublicKeyTypes) -> Iterator[Finding]:
    """The certificate, and the file of the public key if there is one, are of this private key."""
    for name in (*CERTIFICATE_NAMES, PUBLIC_KEY_NAME):
        path = directory / name
        if path.exists() and _public_key(path.read_bytes()) != key:
            detail = f"{directory / PRIVATE_KEY_NAME} doesn't belong to {path}: the keys differ"
            advice = "bring both back from one backup: the signer won't start with these"
            yield Finding("identity", Level.PROBLEM, detail, advice)


def _public_key(content: bytes) -> PublicKeyTypes | None:
    """The key of the first certificate in PEM, or the key itself; None: neither."""
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        if b"-----BEGIN PUBLIC KEY" in content:
            return load_pem_public_key(content)
        return x509.load_pem_x509_certificates(content)[0].public_key()
    return None
