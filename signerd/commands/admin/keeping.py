"""ca_admin checkpoint, backup: what is kept elsewhere."""

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import click

from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.messages import BackupRequest
from signerd.commands.admin.session import Session, confirm, subcommand
from signerd.commands.output import print_json
from signerd.commands.progress import Progress
from signerd.commands.writing import PRIVATE, new_file, write_text

_POLL_SECONDS = 0.1


@click.command()
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Where it goes; else stdout.")
@click.option("-y", "--yes", is_flag=True, help="Replace FILE without asking.")
@subcommand
def checkpoint(session: Session, output: Path | None, yes: bool) -> None:
    """Print a signed statement of where the ledger stands.

    It is to be kept on another machine. It holds the number and the hash of the last entry and the time,
    signed by the CA's key. verify --checkpoint finds by it that the ledger's end was cut off, or that an
    older ledger was put in its place. One file may hold many.

    \b
    Examples:
      ca_admin checkpoint | ssh elsewhere 'cat >> ca.checkpoints'
      ca_admin checkpoint -o /mnt/elsewhere/ca.checkpoint
    """
    _ask_to_replace(output, yes=yes)
    with session.signer() as signer:
        statement = signer.ask_checkpoint().statement
    if output is not None or not session.json:
        write_text(output, statement)
    if session.json:
        stated = dict(line.split(" ", 1) for line in statement.splitlines()[1:])
        print_json({**stated, "entry": int(stated["entry"]), "checkpoint": statement})


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Back up the whole installation, to the new directory OUTPUT.")
@click.option(
    "--passphrase-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="With --all: a file with the passphrase of the CA's key; else CA_PASSPHRASE in the environment, or you are "
    "asked.",
)
@click.option("-y", "--yes", is_flag=True, help="Replace OUTPUT without asking.")
@subcommand
def backup(session: Session, output: Path, everything: bool, passphrase_file: Path | None, yes: bool) -> None:
    """Copy the ledger, or with --all the whole installation, while the signer goes on issuing.

    The copy, in the file OUTPUT, is the ledger as of one moment. Only you can read it, and it is there whole or
    not at all. It holds no private key.

    With --all, which takes root, OUTPUT is a new directory with all that the package does not bring: the ledger,
    the identity, the settings, hooks, custom code, clients' keys, nginx's site, certificate and key, the units'
    drop-ins, and which units are enabled. What others may not read is encrypted by the passphrase of the CA's
    key, and the ledger's key signs a manifest of it all: restore believes nothing else.

    \b
    Examples:
      ca_admin backup /mnt/elsewhere/ledger-$(date +%F).db
      ca_admin verify --ledger /mnt/elsewhere/ledger-2026-01-31.db
      ca_admin backup --all /mnt/elsewhere/ca-$(date +%F)
    """
    if everything:
        _back_up_all(session, output, passphrase_file)
        return
    if output.exists() and not output.is_file():
        raise click.ClickException(f"{output} is no regular file")
    _ask_to_replace(output, yes=yes)
    size = _copy_ledger(session, output)
    session.report({"output": str(output), "bytes": size}, f"wrote {output}, {size} bytes")


def _back_up_all(session: Session, output: Path, passphrase_file: Path | None) -> None:
    from signerd.commands.admin.whole_backup import back_up_all  # noqa: PLC0415 - the ledger alone takes none of it

    manifest = back_up_all(output, passphrase_file, lambda path: _copy_ledger(session, path))
    size = sum(file.size for file in manifest.files)
    report = f"wrote {output}: {len(manifest.files)} files, {size} bytes"
    session.report({"output": str(output), "bytes": size, "files": [file.path for file in manifest.files]}, report)


def _copy_ledger(session: Session, output: Path) -> int:
    with session.signer() as signer, Progress("backup") as progress, new_file(output, PRIVATE) as file:
        size = _copy(signer, file, progress)
        file.flush()
        _check(Path(file.name))
    return size


def _ask_to_replace(path: Path | None, *, yes: bool) -> None:
    if path is not None and path.is_file():
        confirm(lambda: f"{path} exists. Replace it?", yes=yes, undone=f"{path} exists, and was left as it is")


def _copy(signer: SignerClient, file: BinaryIO, progress: Progress) -> int:
    """Writes a snapshot of the ledger to ``file``, and returns its size. Raises ``Refused`` or OSError."""
    while (reply := signer.ask_backup(BackupRequest())).total is None:
        time.sleep(_POLL_SECONDS)
    total, done = reply.total, 0
    while True:
        done += file.write(reply.data)
        progress.at(done, total)
        if done >= total:
            return done
        reply = signer.ask_backup(BackupRequest(offset=done))
        if reply.total != total or not reply.data:
            raise Refused(ErrorCode.CONFLICT, "another backup was begun meanwhile; nothing was written")


def _check(path: Path) -> None:
    """Raises ``click.ClickException`` if the file is no whole database."""
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as db:
        try:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            verdict = str(error)
    if verdict != "ok":
        raise click.ClickException(f"the copy is damaged, and was not kept: {verdict}")
