"""ca_admin revoke."""

from collections.abc import Iterator

import click

from protocol.client import SignerClient
from protocol.fields import PAGE_MAX, CertificateSummary
from protocol.messages import ListRequest, RevokeReply, RevokeRequest, ShowRequest
from protocol.times import rfc3339
from signerd.commands import EXIT_FAILED
from signerd.commands.admin.searching import pages
from signerd.commands.admin.session import Session, confirm, subcommand
from signerd.commands.arguments import CLIENT, SERIAL, TIME, Choice
from signerd.commands.output import Table, counted
from signerd.commands.progress import Progress

HOLD, RELEASE = "certificateHold", "removeFromCRL"
# RFC 5280, 5.3.1.
REASONS = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    HOLD,
    RELEASE,
    "privilegeWithdrawn",
    "aACompromise",
)
_SHOWN = 20  # certificates are shown before the question, if they are no more


@click.command()
@click.argument("serials", metavar="[SERIAL]...", type=SERIAL, nargs=-1)
@click.option(
    "--reason",
    type=Choice(REASONS),
    default="unspecified",
    show_default=True,
    help="Why, in RFC 5280's words; case and hyphens don't count. It stands in the CRL.",
)
@click.option(
    "--issued-since",
    type=TIME,
    metavar="TIME",
    help="All that was issued at this time (RFC 3339, or 2h for two hours ago) or later.",
)
@click.option("--client", type=CLIENT, metavar="ID", help="All that was issued to this client.")
@click.option(
    "--invalidity-date", type=TIME, metavar="TIME", help="Since when the keys are not to be trusted (RFC 5280, 5.3.2)."
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@subcommand
def revoke(  # noqa: PLR0913, PLR0917 - one per option
    session: Session,
    serials: tuple[bytes, ...],
    reason: str,
    issued_since: int | None,
    client: str | None,
    invalidity_date: int | None,
    yes: bool,
) -> int:
    """Revoke certificates, by serial number, time or client.

    Either all of them are revoked or none, across a crash too. This can't be undone, so you are asked,
    unless you say --yes; where there is no terminal to ask on, --yes must be said. The reason
    certificateHold can be undone, by the reason removeFromCRL. Certificates that are revoked already or
    have expired stay as they are; if that leaves none, the exit status is 1.

    The reason keyCompromise blocks the certificates' keys too: from then on they get no certificate and
    renew none, whoever asks. Other certificates that have them are named. Where it was a mistake, see
    unblock.

    \b
    Examples:
      ca_admin revoke 2f:8a:91:5c:30:d4 --reason keyCompromise
      ca_admin revoke --issued-since 2h --client web1 --reason keyCompromise
      ca_admin revoke 2f8a915c30d4 --reason certificateHold
      ca_admin revoke 2f8a915c30d4 --reason removeFromCRL
    """
    request = RevokeRequest(
        reason=reason,
        serials=tuple(dict.fromkeys(serials)),
        issued_since=issued_since,
        client=client,
        invalidity_date=invalidity_date,
    )
    _check(request)
    with session.signer() as signer:
        confirm(
            lambda: _question(signer, request),
            yes=yes or reason in {HOLD, RELEASE},
            undone="nothing was revoked",
        )
        with Progress("revoking"):
            reply = signer.ask_revoke(request)
    done = reply.revoked or reply.blocked
    if not done and not session.json:
        raise click.ClickException(_sentence(reply, reason))
    same_key = [serial.hex() for serial in reply.same_key]
    fields = {"revoked": reply.revoked, "unchanged": reply.unchanged, "blocked": reply.blocked, "same_key": same_key}
    session.report(fields, _sentence(reply, reason))
    return 0 if done else EXIT_FAILED


def _check(request: RevokeRequest) -> None:
    by_search = request.issued_since is not None or request.client is not None
    if bool(request.serials) == by_search:
        raise click.UsageError("name serial numbers, or say --issued-since or --client, but not both")
    if len(request.serials) > PAGE_MAX:
        raise click.UsageError(f"more than {PAGE_MAX} serial numbers")


def _question(signer: SignerClient, request: RevokeRequest) -> str:
    """Shows what would be revoked, and returns the question. Raises ``Refused`` or ``click.ClickException``."""
    count, shown = 0, list[CertificateSummary]()
    with Progress("looking up") as progress:
        for summary in _meant(signer, request):
            count += 1
            shown += [summary] if count <= _SHOWN else []
            progress.at(count, None)
    if not count:
        raise click.ClickException("nothing was revoked: no certificate fits")
    table = Table("serial", "state", "client", "names", "not after", err=True)
    table.print([(s.serial.hex(), s.state, s.client, " ".join(s.names), rfc3339(s.not_after)) for s in shown])
    if count > len(shown):
        click.echo(f"and {count - len(shown)} more", err=True)
    return f"Revoke {counted(count, 'certificate')} ({request.reason})? This can't be undone."


def _meant(signer: SignerClient, request: RevokeRequest) -> Iterator[CertificateSummary]:
    """The certificates that a revocation is about, less those of a search that it would not change."""
    for serial in request.serials:
        yield signer.ask_show(ShowRequest(serial=serial)).certificate
    if not request.serials:
        search = ListRequest(issued_since=request.issued_since, client=request.client, limit=PAGE_MAX)
        for page in pages(signer, search):
            yield from (summary for summary in page if summary.state not in {"revoked", "expired"})


def _sentence(reply: RevokeReply, reason: str) -> str:
    done = {HOLD: "put on hold", RELEASE: "released"}.get(reason, "revoked")
    unchanged = f", {reply.unchanged} unchanged" if reply.unchanged else ""
    if not reply.revoked and not reply.blocked:
        why = (
            f"{counted(reply.unchanged, 'certificate')} stayed as before" if reply.unchanged else "no certificate fits"
        )
        return f"nothing was {done}: {why}"
    lines = [f"{counted(reply.revoked, 'certificate')} {done}{unchanged}"]
    if reply.blocked:
        lines.append(f"{counted(reply.blocked, 'key')} blocked: no certificate any more, until ca_admin unblock")
    if reply.same_key:
        lines.append(f"the same key is in {counted(len(reply.same_key), 'other certificate')}; revoke them too:")
        lines += [f"  {serial.hex()}" for serial in reply.same_key]
    return "\n".join(lines)
