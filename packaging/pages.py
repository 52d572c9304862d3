"""packaging/pages.py DIRECTORY: man pages and shell completion of each command, out of the commands themselves.

Run by packaging/install with the Python of the environment that was just made, so that what is installed is
what is documented. Below DIRECTORY the files lie as they do below share/. A command's page says what its
--help says: nothing is written twice.
"""

import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

# Everything else is for whoever runs the CA: section 8.
_USER_COMMANDS = {"ca_start_dev"}
_COMPLETIONS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}


def commands() -> dict[str, click.Command]:
    """signerd's commands by name. Each lives in its entry point's module, as ``command`` or as the entry point."""
    found = {}
    for script in importlib.metadata.distribution("signerd").entry_points.select(group="console_scripts"):
        module = importlib.import_module(script.module)
        command = getattr(module, "command", None) or getattr(module, script.attr)
        if not isinstance(command, click.Command):
            raise TypeError(f"{script.value}: no click command is to be found there")
        found[script.name] = command
    return found


def section(name: str) -> int:
    """The section of the manual that a command's page is in."""
    return 1 if name in _USER_COMMANDS else 8


def man_page(name: str, command: click.Command, version: str) -> str:
    """The page of a command, its subcommands among it, as man(7) has it."""
    context = click.Context(command, info_name=name, **command.context_settings)
    summary, *rest = _paragraphs(command.help or "")
    lines = [
        f'.TH {_roff(name)} {section(name)} "" "signerd {version}" "signerd"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(_as_one_line(summary).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_roff(name)}",
        _roff(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_text([summary, *rest]),
        *_options(command, context),
    ]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_subcommands(command, context)]
    lines += _epilog(command)
    others = (other for other in commands() if other != name)
    lines += [".SH SEE ALSO", ",\n".join(f".BR {_roff(other)} ({section(other)})" for other in sorted(others))]
    return "\n".join(lines).replace(",\n.BR", " ,\n.BR") + "\n"


def _subcommands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, parent=context, info_name=name, **command.context_settings)
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f".SS {_roff(name)} {_roff(usage)}"
        yield from _text(_paragraphs(command.help or ""))
        for param in command.get_params(inner):
            if record := param.get_help_record(inner):
                yield from _tagged(*record)
        yield from _text(_paragraphs(command.epilog or ""))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    for param in command.get_params(context):
        if record := param.get_help_record(context):
            yield from _tagged(*record)


def _epilog(command: click.Command) -> Iterator[str]:
    if paragraphs := _paragraphs(command.epilog or ""):
        yield ".SH NOTES"
        yield from _text(paragraphs)


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield from (".TP", f".B {_roff(tag)}", _roff(_as_one_line(text)))


def _paragraphs(text: str) -> list[str]:
    """Split at empty lines, and at click's mark: after a line with \\b, lines stay as they are."""
    text = inspect.cleandoc(text.partition("\f")[0])
    blocks = re.split(r"\n[ ]*\n|\n(?=\x08)", text)
    return [re.sub(r"\A\x08\n", "\b", block.strip("\n")) for block in blocks if block.strip()]


def _text(paragraphs: list[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            yield from (".PP", ".nf", *(_roff(line) for line in paragraph.removeprefix("\b").splitlines()), ".fi")
        else:
            yield from (".PP", _roff(_as_one_line(paragraph)))


def _as_one_line(text: str) -> str:
    return " ".join(text.replace("\b", "").split())


def _roff(text: str) -> str:
    """The text, with nothing in it that troff would take for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def completion(shell: str, name: str, command: click.Command) -> str:
    """The script that completes a command in a shell; click's own."""
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    complete = kind(command, {}, name, f"_{name}_COMPLETE".upper())
    return complete.source_template % complete.source_vars() + "\n"


def write_all(directory: Path) -> None:
    """Writes every page and every completion below ``directory``."""
    version = importlib.metadata.version("signerd")
    for name, command in commands().items():
        files = {f"man/man{section(name)}/{name}.{section(name)}": man_page(name, command, version)}
        files |= {path.format(name): completion(shell, name, command) for shell, path in _COMPLETIONS.items()}
        for path, content in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
