"""A search over the ledger: the options that narrow it, and all its pages."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
import msgspec

from protocol.client import SignerClient
from protocol.fields import PAGE_MAX, CertificateSummary
from protocol.messages import ListRequest
from signerd.commands.arguments import CLIENT, DURATION, PROFILE, TEXT, TIME

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--name",
        type=TEXT,
        metavar="NAME",
        help="With this name: web1.example.net, dns:web1.example.net, or a beginning and a star (web*).",
    ),
    click.option("--client", type=CLIENT, metavar="ID", help="Issued to this client."),
    click.option("--profile", type=PROFILE, metavar="NAME", help="Issued under this profile."),
    click.option(
        "--state", type=click.Choice(["valid", "revoked", "hold", "expired", "pending"]), help="In this state."
    ),
    click.option(
        "--expiring-within",
        type=DURATION,
        metavar="DURATION",
        help="Not expired yet, but within this time: 30d, 12h, 2w.",
    ),
    click.option(
        "--issued-since",
        type=TIME,
        metavar="TIME",
        help="Issued at this time (RFC 3339, or 2h for two hours ago) or later.",
    ),
)


def search_options(function: F) -> F:
    """Adds the options of a search to a subcommand, which passes them on to ``search_request``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def search_request(filters: dict[str, Any], *, with_certificates: bool = False) -> ListRequest:
    """The search that the values of the options describe."""
    return ListRequest(**filters, limit=PAGE_MAX, with_certificates=with_certificates)


def pages(signer: SignerClient, request: ListRequest) -> Iterator[tuple[CertificateSummary, ...]]:
    """All pages of what a search finds, oldest first. A page may be empty, and others still follow."""
    while True:
        reply = signer.ask_list(request)
        yield reply.certificates
        if reply.next is None:
            return
        request = msgspec.structs.replace(request, after=reply.next)
