"""What ca_admin issue and ca_sign_certificate share: a CSR to the signer, and the certificate to a file."""

from pathlib import Path

import click

from protocol.chain import without_root
from protocol.fields import OPERATOR
from protocol.messages import IssueReply
from protocol.pem import encode_certificates
from signerd.commands.arguments import CLIENT, PROFILE
from signerd.commands.writing import write_text

client_option = click.option(
    "--client", type=CLIENT, metavar="ID", default=OPERATOR, show_default=True, help="For whom, as the ledger has it."
)
profile_option = click.option(
    "--profile", type=PROFILE, metavar="NAME", help="The policy's profile; else the client's first, or the default."
)
output_option = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Where the certificate goes; else stdout."
)
chain_option = click.option(
    "--chain", is_flag=True, help="Have the CA's certificates follow, less the root: what a server sends."
)


def write_certificate(reply: IssueReply, output: Path | None, *, chain: bool) -> None:
    """Writes the certificate in PEM, with its ``chain`` or without. Raises OSError."""
    ders = (reply.certificate, *(without_root(reply.chain) if chain else ()))
    write_text(output, encode_certificates(ders))
