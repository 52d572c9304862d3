"""ca_admin export."""

import csv
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from protocol.fields import CertificateSummary
from signerd.commands.admin.searching import pages, search_options, search_request
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.output import certificate_facts, certificate_pem, counted
from signerd.commands.progress import Progress
from signerd.commands.writing import PUBLIC, new_file, write_text

_COLUMNS = (
    "serial", "state", "client", "profile", "subject", "names", "not_before", "not_after", "revoked_at", "reason",
    "proof",
)  # fmt: skip
Pages = Iterator[tuple[CertificateSummary, ...]]


@click.command()
@search_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "pem-dir"]),
    default="jsonl",
    show_default=True,
    help="JSON, an object a line, with the certificate in PEM; CSV without it; or a directory of PEM files.",
)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The file, or, for pem-dir, the directory; else stdout.",
)
@subcommand
def export(session: Session, /, form: str, output: Path | None, **filters: Any) -> None:
    """Export certificates as JSON lines, CSV or PEM files.

    Exports those that fit every option, oldest first, with the fields of list --json. A file is there
    whole or not at all. In the directory of pem-dir each certificate is a file SERIAL.pem; files that are
    there already stay, so that a second export adds what is new.

    \b
    Examples:
      ca_admin export > certificates.jsonl
      ca_admin export --format csv --state valid -o valid.csv
      ca_admin export --format pem-dir -o certificates/ --client web1
    """
    if form == "pem-dir" and output is None:
        raise click.UsageError("--format pem-dir needs -o DIRECTORY")
    request = search_request(filters, with_certificates=form != "csv")
    on_screen = output is None and sys.stdout.isatty()
    with session.signer() as signer, Progress("exporting", hidden=on_screen) as progress:
        found = _watched(pages(signer, request), progress)
        if form == "pem-dir" and output is not None:
            count = _write_directory(found, output)
            session.report({"written": count}, f"wrote {counted(count, 'certificate')} to {output}")
        elif output is None:
            for text in _TEXTS[form](found):
                click.echo(text, nl=False)
        else:
            with new_file(output, PUBLIC) as file:
                file.writelines(_TEXTS[form](found))


def _watched(found: Pages, progress: Progress) -> Pages:
    done = 0
    for page in found:
        done += len(page)
        progress.at(done, None)
        yield page


def _json_lines(found: Pages) -> Iterator[bytes]:
    for page in found:
        facts = ({**certificate_facts(summary), "pem": certificate_pem(summary)} for summary in page)
        yield b"".join([msgspec.json.encode(one) + b"\n" for one in facts])


def _csv(found: Pages) -> Iterator[bytes]:
    """RFC 4180, but with lines that end in a newline alone, as other tools here write them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for page in found:
        for facts in map(certificate_facts, page):
            writer.writerow({**facts, "names": " ".join(facts["names"])})
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


_TEXTS: dict[str, Callable[[Pages], Iterator[bytes]]] = {"jsonl": _json_lines, "csv": _csv}


def _write_directory(found: Pages, directory: Path) -> int:
    """Writes what is not there yet, and returns how many that were. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    written = 0
    for summary in itertools.chain.from_iterable(found):
        path = directory / f"{summary.serial.hex()}.pem"
        if (text := certificate_pem(summary)) is not None and not path.exists():
            write_text(path, text)
            written += 1
    return written
