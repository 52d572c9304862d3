"""ca_admin show."""

import click

from protocol.certificate_text import describe_certificate
from protocol.fields import CertificateSummary
from protocol.messages import ShowRequest
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.arguments import SERIAL
from signerd.commands.output import certificate_facts, certificate_pem


@click.command()
@click.argument("serial", type=SERIAL)
@click.option("--pem", is_flag=True, help="Print the certificate in PEM and nothing else.")
@subcommand
def show(session: Session, serial: bytes, pem: bool) -> None:
    """Show one certificate, as text or PEM.

    Shows what the ledger knows of it, and what it says itself. SERIAL is its serial number in
    hexadecimal, with or without colons or 0x.

    \b
    Examples:
      ca_admin show 2f:8a:91:5c:30:d4
      ca_admin show 2f8a915c30d4 --pem > web1.pem
    """
    with session.signer() as signer:
        summary = signer.ask_show(ShowRequest(serial=serial)).certificate
    text = certificate_pem(summary)
    if pem:
        if text is None:
            raise click.ClickException(f"{summary.serial.hex()} is pending: it is not signed yet")
        click.echo(text, nl=False)
        return
    session.report_facts({**certificate_facts(summary), "pem": text}, _show_facts(summary))
    if summary.certificate is not None and not session.json:
        click.echo(f"\n{describe_certificate(summary.certificate)}", nl=False)


def _show_facts(summary: CertificateSummary) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), " ".join(value) if isinstance(value, tuple) else value)
        for name, value in certificate_facts(summary).items()
        if value is not None
    ]
