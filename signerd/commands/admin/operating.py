"""ca_admin status, freeze, thaw, accept, reload."""

import time

import click

from protocol.messages import AcceptRequest, FreezeRequest, StatusReply, ThawRequest
from protocol.times import rfc3339
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.arguments import TEXT

_DAY = 86_400


@click.command()
@subcommand
def status(session: Session) -> None:
    """Show the CA's state, its certificate, its ledger and quotas.

    The state is ready, frozen (see freeze), or unavailable: nothing can be issued, whatever operators
    may want. The detail says why.

    \b
    Examples:
      ca_admin status
      ca_admin --json status
    """
    with session.signer_now() as signer:
        reply = signer.ask_status()
    fields = {
        "state": reply.state,
        "detail": reply.detail,
        "issuer": reply.issuer,
        "issuer_not_after": rfc3339(reply.issuer_not_after),
        "certificates": reply.certificates,
        "ledger": {"entries": reply.entries, "head": reply.head.hex(), "bytes": reply.ledger_bytes},
        "policy": reply.policy.hex(),
        "quotas": reply.quotas,
    }
    session.report_facts(fields, _status_facts(reply, int(time.time())))


def _status_facts(reply: StatusReply, now: int) -> list[tuple[str, str]]:
    days = (reply.issuer_not_after - now) // _DAY
    return [
        ("state", reply.state),
        *([("detail", reply.detail)] if reply.detail else []),
        ("issuer", reply.issuer),
        ("issuer valid until", f"{rfc3339(reply.issuer_not_after)} ({days} days)"),
        ("certificates", ", ".join(f"{count} {state}" for state, count in reply.certificates.items())),
        ("ledger", f"{reply.entries} entries, {reply.ledger_bytes / 2**20:.1f} MiB"),
        ("head", reply.head.hex()),
        ("policy", reply.policy.hex()),
        *[("quota", quota) for quota in reply.quotas],
    ]


_why_option = click.option(
    "--why", type=TEXT, metavar="TEXT", default="", help="For the ledger, and for whoever asks why."
)


@click.command()
@_why_option
@subcommand
def freeze(session: Session, why: str) -> None:
    """Stop issuance until thaw, across restarts too.

    Requests for certificates are refused as "frozen" from now on. Revocation, CRLs and OCSP go on.

    \b
    Examples:
      ca_admin freeze --why "the frontend was taken over"
    """
    with session.signer() as signer:
        reply = signer.ask_freeze(FreezeRequest(why=why))
    session.report({"state": reply.state}, f"issuance is frozen; the signer is {reply.state}")


@click.command()
@_why_option
@subcommand
def thaw(session: Session, why: str) -> None:
    """Let issuance go on after a freeze.

    The freeze may have been an operator's, or that of the circuit breaker (quota.freeze_above).

    \b
    Examples:
      ca_admin thaw --why "the frontend was set up anew"
    """
    with session.signer() as signer:
        reply = signer.ask_thaw(ThawRequest(why=why))
    session.report({"state": reply.state}, f"issuance goes on; the signer is {reply.state}")


@click.command()
@_why_option
@subcommand
def accept(session: Session, why: str) -> None:
    """Go on with a ledger whose end went missing, or by a clock that is in doubt.

    While status says that one of the two keeps the signer from issuing, have a look first. An end that is
    missing may be in a newer backup; certificates and revocations in it are unknown from then on. A clock
    that was wrong is best set right, which ends the doubt by itself. The ledger records what was accepted.

    \b
    Examples:
      ca_admin status
      ca_admin accept --why "the machine was off for three weeks"
    """
    with session.signer() as signer:
        reply = signer.ask_accept(AcceptRequest(why=why))
    session.report(
        {"accepted": reply.accepted, "state": reply.state},
        "\n".join([*(f"accepted: {what}" for what in reply.accepted), f"the signer is {reply.state}"]),
    )


@click.command()
@subcommand
def reload(session: Session) -> None:
    """Have the signer read its policy anew.

    It is taken whole or not at all: if signerd.toml has a mistake, that is named, and the policy before
    stays in force. A request under way keeps the policy that it started under. The passphrase is not
    asked for.

    \b
    Examples:
      ca_signerd --check-config && ca_admin reload
    """
    with session.signer() as signer:
        reply = signer.ask_reload()
    session.report({"policy": reply.policy.hex()}, f"policy {reply.policy.hex()} is in force")
