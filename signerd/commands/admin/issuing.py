"""ca_admin check, issue."""

from pathlib import Path

import click

from protocol.certificate_text import describe_to_be_signed
from protocol.messages import CheckReply, CheckRequest, IssueRequest
from protocol.pem import CERTIFICATE_LABEL, encode, encode_certificates
from protocol.times import rfc3339
from signerd.commands import EXIT_FAILED
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.arguments import DURATION, read_csr
from signerd.commands.issuance import chain_option, client_option, output_option, profile_option, write_certificate
from signerd.commands.output import Table, print_json

_lifetime_option = click.option(
    "--lifetime", type=DURATION, metavar="DURATION", help="How long it is valid: 90d, 12h; else as the profile says."
)


@click.command()
@click.argument("csr", metavar="CSR")
@client_option
@profile_option
@_lifetime_option
@subcommand
def check(session: Session, csr: str, client: str, profile: str | None, lifetime: int | None) -> int:
    """Say what would come of a CSR, and why.

    Nothing is issued. Shows each rule of the policy with its outcome, and, if all of them allow it, the
    certificate that would be made. CSR is a file, PEM or DER, or - for the standard input. As an operator
    you vouch for the client: no proof is asked for. Where there are clients in signerd.toml it is one of
    them, or "operator". Exit status 0 if it would be issued, 1 if not.

    \b
    Examples:
      ca_admin check web1.csr --client web1
      ca_admin check web1.csr --client web1 --profile server --lifetime 30d
      openssl req -new -key web1.key -subj /CN=web1.example.net | ca_admin --json check -
    """
    request = CheckRequest(csr=read_csr(csr), client=client, profile=profile, lifetime=lifetime)
    with session.signer() as signer:
        reply = signer.ask_check(request)
    text = None if reply.to_be_signed is None else describe_to_be_signed(reply.to_be_signed)
    if session.json:
        print_json({"allowed": reply.allowed, "rules": reply.rules, "certificate_text": text})
    else:
        _print_check(reply, text)
    return 0 if reply.allowed else EXIT_FAILED


def _print_check(reply: CheckReply, text: str | None) -> None:
    Table("rule", "ok", "detail").print([(rule.rule, "ok" if rule.ok else "no", rule.detail) for rule in reply.rules])
    if text is None:
        click.echo("\nNot allowed: nothing would be issued.")
    else:
        click.echo(f"\nAllowed: this certificate would be made.\n\n{text}", nl=False)


@click.command()
@click.argument("csr", metavar="CSR")
@client_option
@profile_option
@_lifetime_option
@output_option
@chain_option
@subcommand
def issue(  # noqa: PLR0913, PLR0917 - one per option
    session: Session,
    csr: str,
    client: str,
    profile: str | None,
    lifetime: int | None,
    output: Path | None,
    chain: bool,
) -> None:
    """Issue a certificate for a CSR.

    It is within policy and quota, and on record, like any other. CSR is a file, PEM or DER, or - for the
    standard input. As an operator you vouch for the client: no proof is asked for. Where there are clients
    in signerd.toml it is one of them, or "operator". The certificate goes to stdout in PEM, or to the file
    that -o names, which then is there whole or not at all.

    \b
    Examples:
      ca_admin issue web1.csr --client web1 -o web1.pem
      ca_admin issue web1.csr --client web1 --lifetime 30d --chain > web1-chain.pem
      ca_admin --json issue web1.csr
    """
    request = IssueRequest(csr=read_csr(csr), client=client, profile=profile, lifetime=lifetime)
    with session.signer() as signer:
        reply = signer.ask_issue(request)
    if output is not None or not session.json:
        write_certificate(reply, output, chain=chain)
    fields = {
        "serial": reply.serial.hex(),
        "client": client,
        "not_before": rfc3339(reply.not_before),
        "not_after": rfc3339(reply.not_after),
        "pem": encode(reply.certificate, CERTIFICATE_LABEL),
        "chain_pem": encode_certificates(reply.chain),
    }
    if session.json:
        print_json(fields)
    else:
        click.echo(f"issued {fields['serial']} to {client}, valid until {fields['not_after']}", err=True)
