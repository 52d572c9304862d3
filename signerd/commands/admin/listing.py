"""ca_admin list."""

import itertools
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from protocol.fields import PAGE_MAX, CertificateSummary
from protocol.times import rfc3339
from signerd.commands.admin.searching import pages, search_options, search_request
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.output import Table, certificate_facts

_TABLE_ROWS = 100  # what people are shown unless they say --limit or --all
Pages = Iterable[Iterable[CertificateSummary]]


@click.command("list")
@search_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"At most so many; {_TABLE_ROWS} for a table unless --all is said, no limit with --json.",
)
@click.option("--all", "everything", is_flag=True, help="All that fit, however many.")
@subcommand
def list_certificates(session: Session, /, limit: int | None, everything: bool, **filters: Any) -> None:
    """List certificates, oldest first.

    Lists those on the ledger that fit every option. A certificate is valid, revoked, on hold, expired, or
    pending (recorded, and not signed yet). Names are shown with their kind: dns:, ip:, email:, uri:.

    \b
    Examples:
      ca_admin list --expiring-within 30d --state valid
      ca_admin list --name 'web*' --state valid
      ca_admin list --client web1 --issued-since 2026-01-31T10:00:00Z
      ca_admin --json list --state revoked
    """
    if limit is not None and everything:
        raise click.UsageError("--limit and --all exclude each other")
    if limit is None and not (everything or session.json):
        limit = _TABLE_ROWS
    request = search_request(filters)
    if limit is not None:
        request = msgspec.structs.replace(request, limit=min(limit + 1, PAGE_MAX))
    with session.signer() as signer:
        found = pages(signer, request)
        if session.json:
            _print_array(_first(found, limit))
        else:
            _print_table(found, limit)


def _first(found: Pages, limit: int | None) -> Pages:
    """The pages, up to ``limit`` certificates."""
    for page in found:
        rows = tuple(page) if limit is None else tuple(itertools.islice(page, limit))
        yield rows
        if limit is not None and (limit := limit - len(rows)) == 0:
            return


def _print_array(found: Pages) -> None:
    """A JSON array, an object a line, page by page: a million certificates are never all in memory."""
    between = b"["
    for page in found:
        for_page = []
        for summary in page:
            for_page += [between, b"\n", msgspec.json.encode(certificate_facts(summary))]
            between = b","
        click.echo(b"".join(for_page), nl=False)
    click.echo(b"[]" if between == b"[" else b"\n]")


def _print_table(found: Pages, limit: int | None) -> None:
    table = Table("serial", "state", "client", "profile", "names", "not after")
    shown = 0
    for page in _first(found, None if limit is None else limit + 1):
        rows = [_row(summary) for summary in page]
        kept = rows if limit is None else rows[: limit - shown]
        if kept:
            table.print(kept)
        shown += len(kept)
        if len(kept) < len(rows):
            click.echo(f"There are more than these {shown}: --all shows them, --limit N so many.", err=True)
    if not shown:
        click.echo("no certificate fits", err=True)


def _row(summary: CertificateSummary) -> tuple[str, ...]:
    return (
        summary.serial.hex(),
        summary.state,
        summary.client,
        summary.profile,
        " ".join(summary.names),
        rfc3339(summary.not_after),
    )
