"""The ledger key's file, ledger.key.pem, beside the CA's private key in the identity directory.

It is encrypted by the passphrase of the CA's key, if that is: a ledger key that lies open beside a CA key that doesn't
would be the way to have the CA's key sign what somebody recorded.
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from protocol.errors import ConfigurationError
from signerd.files import Owner, open_private_directory, write_private_file
from signerd.identity import only_private_key_block
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger.opening import is_new
from signerd.pkcs8 import encrypted_pem

LEDGER_KEY_NAME = "ledger.key.pem"


def open_ledger_key(directory: Path, passphrase: bytes | None, ledger: Path) -> LedgerKey:
    """The key in ``directory``, made where the ledger is to be made too. ``passphrase``: of the CA's key; None if that
    is not encrypted. Raises ``ConfigurationError``, also where the key is missing and the ledger is not."""
    if (key := read_ledger_key(directory, passphrase)) is not None:
        return key
    if not is_new(ledger):
        raise ConfigurationError(
            f"{directory / LEDGER_KEY_NAME} is missing, by which {ledger} is signed: put it back, or have root make"
            " a new one by `ca_admin ledger-key renew`"
        )
    return make_ledger_key(directory, passphrase)


def read_ledger_key(directory: Path, passphrase: bytes | None) -> LedgerKey | None:
    """The key in ``directory``; None where there is none. Raises ``ConfigurationError``."""
    where = directory / LEDGER_KEY_NAME
    with open_private_directory(directory) as files:
        content = files.read(LEDGER_KEY_NAME, secret=True)
    if content is None:
        return None
    block, encrypted = only_private_key_block(content, where)
    if encrypted and passphrase is None:
        raise ConfigurationError(f"{where} is encrypted, and the CA's key is not: `ca_admin passphrase` mends it")
    if not encrypted and passphrase is not None:
        raise ConfigurationError(
            f"{where} is not encrypted, and the CA's key is: whoever reads it could have the ledger say anything."
            " `ca_admin ledger-key renew` makes a new one"
        )
    return LedgerKey(load_block(block, passphrase, where))


def load_block(block: bytes, passphrase: bytes | None, where: Path) -> Ed25519PrivateKey:
    """The key in a PEM block. Raises ``ConfigurationError``."""
    try:
        key = load_pem_private_key(block, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "the passphrase is not that of the CA's key, or the file is damaged" if passphrase else "it is damaged"
        raise ConfigurationError(f"{where} can't be read: {reason}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{where} is no Ed25519 key")
    return key


def make_ledger_key(directory: Path, passphrase: bytes | None, owner: Owner | None = None) -> LedgerKey:
    """A new key, durable in ``directory`` when it returns. Raises ``ConfigurationError``."""
    key = Ed25519PrivateKey.generate()
    where = directory / LEDGER_KEY_NAME
    try:
        write_private_file(where, ledger_key_pem(key, passphrase), owner=owner)
    except OSError as error:
        raise ConfigurationError(
            f"{where} can't be written: {error.strerror}; where only root may, `ca_admin ledger-key renew` makes it"
        ) from None
    return LedgerKey(key)


def ledger_key_pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    """What the file holds."""
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encrypted_pem(key, passphrase)
