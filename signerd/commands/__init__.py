"""What all commands share: how they end, and the option --version."""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from protocol.errors import EXIT_CONFIGURATION, ConfigurationError, Refused

EXIT_FAILED = 1

# For @click.command(): -h as well, and lines as wide as the screen up to 100 columns.
CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

version_option = click.version_option(package_name="signerd", message="%(prog)s %(version)s")


def run(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``command`` (on sys.argv, unless ``arguments`` are given) and end the process with its status.

    0: done. 1: refused or failed. 2: wrong usage. 78: bad configuration. Whatever ends it says so in one
    line on stderr, never in a traceback; an error in the program itself is the exception.
    A command ends with another status by ``ctx.exit(status)``, or by returning a whole number.
    """
    try:
        status = command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except ConfigurationError as error:
        _end("bad_configuration", str(error), EXIT_CONFIGURATION)
    except Refused as error:
        _end(error.code, error.detail, EXIT_FAILED, f"{error.code}: {error.detail}")
    except click.UsageError as error:
        if not _for_a_program():
            error.show()
            sys.exit(error.exit_code)
        _end("usage", error.format_message(), error.exit_code)
    except click.ClickException as error:
        _end("failed", error.format_message(), EXIT_FAILED)
    except (click.Abort, KeyboardInterrupt):
        _end("failed", "given up", EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read our output went away (… | head); the interpreter must not stumble over it at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        _end("failed", f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_FAILED)
    sys.exit(status if isinstance(status, int) else 0)


def _end(code: str, detail: str, status: int, line: str | None = None) -> NoReturn:
    """Says why on stderr: people get a ``line`` (None: the ``detail``), programs an object with both."""
    if _for_a_program():
        click.echo(json.dumps({"error": code, "detail": detail}, ensure_ascii=False).encode(), err=True)
    else:
        program = Path(sys.argv[0]).name.replace("__main__.py", "ca_signerd")  # python -m signerd
        click.echo(f"{program}: {line or detail}", err=True)
    sys.exit(status)


def _for_a_program() -> bool:
    """Whether --json was said: here, for what is wrong with the arguments is wrong before they are understood."""
    return "--json" in sys.argv[1:]
