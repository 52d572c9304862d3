"""ca_admin rebuild."""

import fcntl
import sqlite3
from pathlib import Path

import click

from signerd.commands.admin.session import Session, subcommand
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
    if _is_in_use(ledger):
        raise click.ClickException(f"{ledger} is in use by a signer: stop it first")
    try:
        entries = rebuild_ledger(ledger, output)
    except FileExistsError:
        raise click.ClickException(f"{output} exists, and was left as it is") from None
    except (ValueError, sqlite3.Error) as error:
        raise click.ClickException(f"{ledger}: {error}; nothing was written") from None
    session.report({"output": str(output), "entries": entries}, f"wrote {output}, {entries} entries")


def _is_in_use(ledger: Path) -> bool:
    """Whether a signer holds the ledger's lock: what it records from now on would be lost."""
    try:
        with ledger.with_name(f"{ledger.name}.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
