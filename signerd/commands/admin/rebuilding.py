"""ca_admin rebuild."""

import os
import sqlite3
from pathlib import Path

import click

from signerd.commands.admin.session import Session, subcommand
from signerd.commands.progress import Progress
from signerd.commands.writing import PRIVATE, new_file
from signerd.ledger.file import without_signer
from signerd.ledger.rebuild import rebuild as rebuild_ledger


@click.command()
@click.argument("ledger", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@subcommand
def rebuild(session: Session, ledger: Path, output: Path) -> None:
    """Make a ledger's index anew, from its entries.

    For when verify finds that the index says otherwise than the entries. LEDGER, a backup or the ledger of
    a stopped signer, is only read. OUTPUT is a new file with the same entries and the index that follows
    from them; it is there whole or not at all. Where an entry is not what was recorded none is made: then
    a backup is what helps.

    \b
    Examples:
      ca_admin rebuild /var/lib/ca/ledger.db /root/ledger.db
      ca_admin verify --ledger /root/ledger.db
    """
    if os.path.lexists(output):
        raise click.ClickException(f"{output} exists, and was left as it is")
    try:
        with without_signer(ledger), Progress("rebuilding") as progress, new_file(output, PRIVATE) as file:
            entries = rebuild_ledger(ledger, Path(file.name), progress.at)
    except BlockingIOError:
        raise click.ClickException(f"{ledger} is in use by a signer: stop it first") from None
    except (ValueError, sqlite3.Error) as error:
        raise click.ClickException(f"{ledger}: {error}; nothing was written") from None
    session.report({"output": str(output), "entries": entries}, f"wrote {output}, {entries} entries")
