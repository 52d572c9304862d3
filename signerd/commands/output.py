"""What commands print: tables and facts for people, JSON for programs.

People at a terminal get tables by rich, in colour; a pipe gets plain aligned columns, never cut or folded.
rich is imported only where it draws: programs need not wait for it.
"""

import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import click
import msgspec

from protocol.fields import CertificateSummary
from protocol.pem import CERTIFICATE_LABEL, encode
from protocol.times import rfc3339


def certificate_facts(summary: CertificateSummary) -> dict[str, Any]:
    """One certificate as --json shows it. The names of the fields never change."""
    return {
        "serial": summary.serial.hex(),
        "state": summary.state,
        "client": summary.client,
        "profile": summary.profile,
        "subject": summary.subject,
        "names": summary.names,
        "not_before": rfc3339(summary.not_before),
        "not_after": rfc3339(summary.not_after),
        "revoked_at": None if summary.revoked_at is None else rfc3339(summary.revoked_at),
        "reason": summary.reason,
        "proof": summary.proof,
    }


def certificate_pem(summary: CertificateSummary) -> str | None:
    """Its PEM; None where it is pending, or was not asked for."""
    return None if summary.certificate is None else encode(summary.certificate, CERTIFICATE_LABEL)


def print_json(value: Any) -> None:
    """Prints ``value`` as one JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))  # bytes: JSON is UTF-8 in any locale


def print_line(text: str) -> None:
    """Prints a line that click.style coloured, without the colours where rich would show none either."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") in {"dumb", "unknown"}
    click.echo(text, color=False if plain else None)


def counted(number: int, what: str) -> str:
    """A number of things: 1 certificate, 2 certificates."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def printable(text: str) -> str:
    """``text`` without what could steer a terminal."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else f"\\u{ord(c):04x}" for c in text])


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values, a line each."""
    facts = [(name, printable(value)) for name, value in facts]
    if sys.stdout.isatty():
        _screen().show_facts(facts)
        return
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        click.echo(f"{name + ':':<{width}}{value}")


class Table:
    """Rows under headings, printed in one or more parts."""

    def __init__(self, *headings: str, err: bool = False) -> None:
        self._headings = headings
        self._widths = [0] * len(headings)
        self._begun = False
        self._err = err

    def print(self, rows: Sequence[Sequence[str]]) -> None:
        """Prints more rows. A terminal gets the headings again, a pipe only before the first."""
        rows = [[printable(cell) for cell in row] for row in rows]
        if (sys.stderr if self._err else sys.stdout).isatty():
            _screen().show_table(self._headings, rows, err=self._err)
            return
        lines = rows if self._begun else [[heading.upper() for heading in self._headings], *rows]
        self._begun = True
        columns = zip(*lines, strict=True)
        self._widths = [max(width, *map(len, column)) for width, column in zip(self._widths, columns, strict=True)]
        cells = ([f"{cell:<{width}}" for cell, width in zip(line, self._widths, strict=True)] for line in lines)
        click.echo("\n".join(["  ".join(line).rstrip() for line in cells]), err=self._err)


def _screen() -> ModuleType:
    from signerd.commands import screen  # noqa: PLC0415 - rich takes longer to load than an answer to come

    return screen
