"""ca_sign_certificate: a certificate for a CSR, as ssl_api's users type it."""

from pathlib import Path

import click

from protocol.durations import parse_duration
from protocol.messages import IssueRequest
from signerd.commands import CONTEXT_SETTINGS, run, version_option
from signerd.commands.admin_socket import DEFAULT_SOCKET, SOCKET_VARIABLE, signer_at
from signerd.commands.arguments import read_csr, typed
from signerd.commands.issuance import chain_option, client_option, output_option, profile_option, write_certificate


def _validity(text: str) -> int:
    """Seconds. As in ssl_api, the suffixes are s, d and y, and years without one. Raises ValueError."""
    if text[-1:].isalpha() and text[-1:].lower() not in {"s", "d", "y"}:
        raise ValueError(f"{text!r} doesn't end in s, d or y")
    return parse_duration(text.lower(), "y")


@click.command("ca_sign_certificate", context_settings=CONTEXT_SETTINGS)
@click.option("-f", "--csr", metavar="FILE", default="-", help="The CSR, PEM or DER; else stdin.")
@output_option
@client_option
@profile_option
@chain_option
@click.option(
    "--socket",
    metavar="PATH",
    default=DEFAULT_SOCKET,
    envvar=SOCKET_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="The signer's admin socket.",
)
@version_option
@click.argument("validity", type=typed(_validity))
def command(  # noqa: PLR0913, PLR0917 - one per option
    csr: str, output: Path | None, client: str, profile: str | None, chain: bool, socket: str, validity: int
) -> None:
    """Sign a CSR: make a certificate that is valid for VALIDITY.

    VALIDITY is a number and s, d or y (seconds, days, years of 365 days); years if there is no suffix. The
    running signer makes the certificate, within its policy and quota, and records it like any other. It
    admits root and the members of the group ca-admin.

    \b
    Examples:
      ca_sign_certificate -f web1.csr -o web1.pem 90d
      ca_sign_certificate 1 < web1.csr > web1.pem
      ca_sign_certificate -f web1.csr --client web1 --chain 30d
    """
    request = IssueRequest(csr=read_csr(csr), client=client, profile=profile, lifetime=validity)
    with signer_at(socket) as signer:
        reply = signer.ask_issue(request)
    write_certificate(reply, output, chain=chain)


def main() -> None:
    """The command, on sys.argv; ends the process."""
    run(command)


if __name__ == "__main__":
    main()
