"""A new ledger key, beside a signer that is stopped: made, stated by the CA's key, and recorded."""

import contextlib
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import ConfigurationError
from signerd.as_user import acting_as
from signerd.certificate import key_identifier_of
from signerd.clock import Clock, boot_now, read_machine
from signerd.files import Owner, write_private_file
from signerd.identity import PRIVATE_KEY_NAME, Identity, load_identity
from signerd.key import RecordedKey
from signerd.ledger import schema
from signerd.ledger.chain import Entry
from signerd.ledger.file import without_signer
from signerd.ledger.ledger_key import LedgerKey, is_head_signed
from signerd.ledger.opening import is_new
from signerd.ledger.store import Ledger
from signerd.ledger.verify import open_at_rest, statements
from signerd.ledger_key_file import LEDGER_KEY_NAME, ledger_key_pem, read_ledger_key
from signerd.statement import state_ledger_key
from signerd.trust import CaTrust


def renew_ledger_key(directory: Path, ledger: Path, passphrase: bytes | None, signer: Owner) -> bytes:
    """Puts a new key into the identity directory and on the ledger; returns its raw public key.

    ``passphrase``: of the CA's key, if that is encrypted. ``signer``: as whom the signer runs, to whom the ledger
    belongs. Where it ends half-way, the file's key is not the ledger's, or not stated yet: calling it again mends that.
    Raises ``ConfigurationError`` where a signer has the ledger open, or the ledger's end is not signed by a key that
    the CA stated.
    """
    with acting_as(signer):
        identity = load_identity(directory, lambda: passphrase or b"", read_machine().wall)
        before = _key_before(ledger, CaTrust(identity.certificate))
        begun = None if before is None else _begun(directory, identity.passphrase, ledger, before)
    if begun is not None:
        return begun
    private = Ed25519PrivateKey.generate()
    _write_beside_the_cas(directory, ledger_key_pem(private, identity.passphrase))
    if before is not None:
        with acting_as(signer), contextlib.closing(Ledger(ledger, LedgerKey(private), boot_now, before)) as opened:
            _state(opened, identity)
    return private.public_key().public_bytes_raw()


def _key_before(ledger: Path, trust: CaTrust) -> bytes | None:
    """The key by which the ledger is signed; None where there is nothing to sign yet."""
    try:
        with without_signer(ledger):
            if is_new(ledger):
                return None
            with contextlib.closing(open_at_rest(ledger)) as db:
                stated = statements(db, trust)
    except BlockingIOError:
        raise ConfigurationError(f"{ledger} is in use by a signer: stop it first") from None
    if not stated:
        raise ConfigurationError(f"{ledger}: no statement of this CA says by which key it is signed")
    return stated[-1].key


def _begun(directory: Path, passphrase: bytes | None, ledger: Path, before: bytes) -> bytes | None:
    """The raw public key that is here, if it has signed the ledger's end and no statement is complete that says so: a
    renewal ended between the statement's intent and its signature, which the signer's next start makes. With yet
    another key in its place nobody could open the ledger any more."""
    with contextlib.suppress(ConfigurationError), contextlib.closing(open_at_rest(ledger)) as db:
        key = read_ledger_key(directory, passphrase)
        last = db.execute(f"{schema.ENTRIES} ORDER BY seq DESC LIMIT 1").fetchone()
        if key is not None and key.public != before and last is not None:
            entry = Entry(*last)
            return key.public if is_head_signed(key.public, entry.head, entry.signature) else None
    return None


def _write_beside_the_cas(directory: Path, pem: bytes) -> None:
    """Whose the CA's key is, and who may read it, so is this one."""
    status = (directory / PRIVATE_KEY_NAME).stat()
    owner = Owner(status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    write_private_file(directory / LEDGER_KEY_NAME, pem, mode=stat.S_IMODE(status.st_mode), owner=owner)


def _state(ledger: Ledger, identity: Identity) -> None:
    if ledger.lost is not None:
        raise ConfigurationError(ledger.lost)
    clock = Clock(read_machine)
    clock.go_on_from(ledger.head.time, ledger.mark)
    key, issuer = RecordedKey(identity.private_key, ledger), key_identifier_of(identity.certificate)
    state_ledger_key(ledger, key, CaTrust(identity.certificate), issuer, clock.now())
