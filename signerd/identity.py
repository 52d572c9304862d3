"""The CA's identity: its certificate, the chain above it, and its private key, out of the identity directory.

The layout is ssl_api's: ca.crt.pem (or ca.cert.pem), ca.private_key.pem, ca.public_key.pem, ca.csr.pem.
The last two are for people; only the first two are needed. Whatever could make the CA issue certificates
that nobody accepts, or let somebody else at its key, is found here, before anything is signed.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from protocol.errors import ConfigurationError
from signerd.ca_certificate import check_chain, check_own_certificate, is_self_signed, load_chain
from signerd.files import PrivateDirectory, open_private_directory
from signerd.key import CaPrivateKey

_log = logging.getLogger(__name__)

CERTIFICATE_NAMES = ("ca.crt.pem", "ca.cert.pem")
PRIVATE_KEY_NAME = "ca.private_key.pem"
PUBLIC_KEY_NAME = "ca.public_key.pem"
CSR_NAME = "ca.csr.pem"

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n(.*?)-----END \1-----", re.DOTALL)
_PRIVATE_KEY_LABELS = {b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"}


@dataclass(frozen=True)
class Identity:
    """A CA that can issue: ``chain`` starts with ``certificate``, then its issuers as far as known. ``passphrase`` is
    that of the private key; None: it is not encrypted."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    private_key: CaPrivateKey = field(repr=False)
    passphrase: bytes | None = field(default=None, repr=False)


def load_identity(directory: Path, ask_passphrase: Callable[[], bytes], now: int) -> Identity:
    """The identity in ``directory``, checked; ``now`` is in seconds since the epoch.

    ``ask_passphrase`` is called once, if the key is encrypted and everything else is in order so far.
    Raises ConfigurationError, one line that names the file, for whatever keeps it from serving.
    """
    with open_private_directory(directory) as files:
        where, chain = _read_chain(files)
        check_own_certificate(chain[0], where, now)
        check_chain(chain, where, now)
        return _with_private_key(files, where, chain, ask_passphrase)


def load_expiring_identity(directory: Path, ask_passphrase: Callable[[], bytes]) -> Identity:
    """The same, for making its certificate anew: that one may have expired, or be of an old form.

    Raises ConfigurationError; also where another CA has issued it.
    """
    with open_private_directory(directory) as files:
        where, chain = _read_chain(files)
        if len(chain) > 1 or not is_self_signed(chain[0]):
            issuer = chain[0].issuer.rfc4514_string()
            raise ConfigurationError(f"{where} is not a root: its issuer, {issuer}, has to renew it, from {CSR_NAME}")
        return _with_private_key(files, where, chain, ask_passphrase)


def is_key_encrypted(directory: Path) -> bool:
    """Whether the private key in ``directory`` takes a passphrase. Raises ConfigurationError."""
    with open_private_directory(directory) as files:
        return _private_key_block(files)[1]


def _with_private_key(
    files: PrivateDirectory, where: str, chain: tuple[x509.Certificate, ...], ask_passphrase: Callable[[], bytes]
) -> Identity:
    public_key = chain[0].public_key()
    _check_public_key_file(files, public_key, where)
    private_key, passphrase = _read_private_key(files, ask_passphrase)
    if _spki(private_key.public_key()) != _spki(public_key):
        raise ConfigurationError(f"{files.path / PRIVATE_KEY_NAME} doesn't belong to {where}: the keys differ")
    return Identity(chain[0], chain, private_key, passphrase)


def _read_chain(files: PrivateDirectory) -> tuple[str, tuple[x509.Certificate, ...]]:
    """Where the chain was found, and the chain."""
    found = {
        str(files.path / name): load_chain(content, str(files.path / name))
        for name in CERTIFICATE_NAMES
        if (content := files.read(name)) is not None
    }
    if not found:
        raise ConfigurationError(f"{files.path} holds neither {' nor '.join(CERTIFICATE_NAMES)}")
    if len(set(found.values())) > 1:
        raise ConfigurationError(f"{' and '.join(found)} differ: keep the one that is right")
    return next(iter(found.items()))


def _read_private_key(
    files: PrivateDirectory, ask_passphrase: Callable[[], bytes]
) -> tuple[CaPrivateKey, bytes | None]:
    where = files.path / PRIVATE_KEY_NAME
    block, encrypted = _private_key_block(files)
    passphrase = ask_passphrase() if encrypted else None
    if not encrypted:
        _log.warning("%s is not encrypted: whoever gets hold of a copy of it is this CA", where)
    try:
        key = load_pem_private_key(block, passphrase)
    except UnsupportedAlgorithm as error:
        raise ConfigurationError(f"{where} is of a kind that isn't supported: {error}") from error
    except (ValueError, TypeError) as error:
        reason = "the passphrase is wrong, or the file is damaged" if encrypted else "the file is damaged"
        raise ConfigurationError(f"{where} can't be read: {reason}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigurationError(f"{where} is no RSA, elliptic-curve or Ed25519 key")
    return key, passphrase


def _private_key_block(files: PrivateDirectory) -> tuple[bytes, bool]:
    where = files.path / PRIVATE_KEY_NAME
    content = files.read(PRIVATE_KEY_NAME, secret=True)
    if content is None:
        raise ConfigurationError(f"{files.path} holds no {PRIVATE_KEY_NAME}")
    return only_private_key_block(content, where)


def only_private_key_block(content: bytes, where: Path) -> tuple[bytes, bool]:
    """The file's one PEM block with a private key, and whether it is encrypted. Raises ConfigurationError.

    Text around it (openssl pkcs12 writes some) and a block of curve parameters (openssl ecparam -genkey
    puts one before the key) are passed over.
    """
    blocks = [block for block in _PEM_BLOCK.finditer(content) if block[1] != b"EC PARAMETERS"]
    keys = [block for block in blocks if block[1].endswith(b"PRIVATE KEY")]
    if not keys:
        raise ConfigurationError(f"{where} holds no PEM private key")
    if len(keys) > 1:
        raise ConfigurationError(f"{where} holds {len(keys)} private keys, and one is wanted")
    label = keys[0][1]
    if label not in _PRIVATE_KEY_LABELS:
        raise ConfigurationError(
            f"{where} holds a key in the form {label.decode('ascii')!r}: convert it with openssl pkcs8 -topk8"
        )
    # RFC 1421, 4.6.1.1: the header of the form that openssl rsa -aes128 -traditional writes.
    return keys[0][0], label.startswith(b"ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in keys[0][2]


def _check_public_key_file(files: PrivateDirectory, expected: PublicKeyTypes, certificate: str) -> None:
    where = files.path / PUBLIC_KEY_NAME
    content = files.read(PUBLIC_KEY_NAME)
    if content is None:
        return
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{where} holds no readable PEM public key") from error
    if _spki(key) != _spki(expected):
        raise ConfigurationError(f"{where} doesn't belong to {certificate}: the keys differ")


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
