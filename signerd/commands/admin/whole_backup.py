"""ca_admin backup --all."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.as_user import acting_as, signer_user
from signerd.backup.manifest import Manifest
from signerd.backup.places import SETTINGS, Places, outside, under
from signerd.backup.saving import Authority, copy_of, finish, save
from signerd.commands.admin.host import describe_host
from signerd.files import sync_directory
from signerd.identity import is_key_encrypted
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger.verify import open_at_rest, statements
from signerd.ledger_key_file import LEDGER_KEY_NAME, read_ledger_key
from signerd.passphrase import prompt_on_terminal, read_passphrase
from signerd.trust import CaTrust

_ROOT = Path("/")


def back_up_all(directory: Path, passphrase_file: Path | None, copy_ledger: Callable[[Path], object]) -> Manifest:
    """Makes ``directory``, with a backup of the whole installation in it; ``copy_ledger`` writes a snapshot of the
    ledger to a file. It is there whole or not at all. Raises ``click.ClickException``, OSError."""
    if os.geteuid() != 0:
        raise click.ClickException("only root can read all of an installation; without --all it takes less")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise click.ClickException(f"{directory} exists, and was left as it is")
    passphrase = read_passphrase(passphrase_file, os.environ, prompt_on_terminal())
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.absolute().parent))  # mode 0700
    try:
        settings = under(_ROOT, SETTINGS).read_bytes()
        places = Places.of(settings)
        key, certificate = _key_and_certificate(places, passphrase)
        copy = copy_of(work, places.ledger)
        copy.parent.mkdir(parents=True)
        copy_ledger(copy)
        manifest = save(_ROOT, work, places, passphrase, describe_host(), int(time.time()))
        finish(work, manifest, _authority(key, certificate, copy))
        work.rename(directory)
        sync_directory(directory.absolute().parent)
    except ValueError as error:
        raise click.ClickException(f"{error}; no backup was made") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for path in outside(settings):
        click.echo(f"{path}, which {SETTINGS} names, is not in the backup: it lies outside of /etc/ca", err=True)
    return manifest


def _key_and_certificate(places: Places, passphrase: bytes) -> tuple[LedgerKey, x509.Certificate]:
    """Raises ``ConfigurationError``: for a wrong passphrase before anything is copied; ValueError."""
    identity = Path(places.identity)
    with acting_as(signer_user(Path(places.ledger))):
        key = read_ledger_key(identity, passphrase if is_key_encrypted(identity) else None)
        certificate = x509.load_pem_x509_certificate(places.certificate(_ROOT).read_bytes())
    if key is None:
        raise ValueError(f"{identity / LEDGER_KEY_NAME} is missing")
    return key, certificate


def _authority(key: LedgerKey, certificate: x509.Certificate, ledger: Path) -> Authority:
    """By whom the backup will be believed. Raises ValueError."""
    with contextlib.closing(open_at_rest(ledger)) as db:
        found = [one for one in statements(db, CaTrust(certificate)) if one.key == key.public]
    if not found:
        raise ValueError("the ledger has no statement of the CA's about its ledger key: start the signer first")
    pem = certificate.public_bytes(Encoding.PEM).decode()
    return Authority(pem, (found[-1].text, found[-1].signature), key)
