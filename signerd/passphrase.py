"""Where the passphrase of the CA's key comes from.

In this order: the systemd credential ``ca_passphrase``, the file that --passphrase-file names, the
environment's CA_PASSPHRASE, a prompt on the terminal.

The environment is the worst of them: ps shows it, children inherit it, and it stays readable in
/proc/PID/environ for as long as the process lives. So the variable is always removed, whichever source
won, and its text is wiped from the memory that /proc/PID/environ shows: the kernel reads that from the
process's initial stack, which unsetenv(3) doesn't touch.
"""

import ctypes
import getpass
import logging
import os
import stat
from collections.abc import Callable, MutableMapping
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.files import refuse_unless_guarded

_log = logging.getLogger(__name__)

VARIABLE = "CA_PASSPHRASE"
CREDENTIAL = "ca_passphrase"

# openssl takes 1,024 bytes at most (PEM_BUFSIZE). A file that holds more is the wrong file.
_LONGEST = 1024


def read_passphrase(
    passphrase_file: Path | None, environ: MutableMapping[str, str], prompt: Callable[[], str] | None
) -> bytes:
    """The passphrase, from the first source that there is; CA_PASSPHRASE is gone from ``environ`` afterwards.

    ``prompt`` is None where nobody can be asked. Raises ConfigurationError if there is no source, or if the
    one that was found is empty or can't be read: a source is never passed over because it is broken.
    """
    from_environment = take_from_environment(environ)
    credential = _from_credential(environ)
    if credential is not None:
        return credential
    if passphrase_file is not None:
        return _from_file(passphrase_file)
    if from_environment is not None:
        _log.warning(
            "the passphrase came from %s, which other processes may have seen; "
            "a systemd credential or --passphrase-file is safer",
            VARIABLE,
        )
        return _checked(from_environment, VARIABLE)
    if prompt is not None:
        return _checked(os.fsencode(prompt()), "the passphrase")
    raise ConfigurationError(
        f"no passphrase for the CA's key: give it as the systemd credential {CREDENTIAL}, "
        f"by --passphrase-file, as {VARIABLE} in the environment, or start this on a terminal to be asked"
    )


def take_from_environment(environ: MutableMapping[str, str]) -> bytes | None:
    """Remove CA_PASSPHRASE from ``environ`` and return it; from the process's own, wipe it as well."""
    value = environ.pop(VARIABLE, None)
    if environ is os.environ:
        _wipe_initial_environment(f"{VARIABLE}=".encode("ascii"))
    return None if value is None else os.fsencode(value)


def prompt_on_terminal(*, twice: bool = False, which: str = "Passphrase") -> Callable[[], str] | None:
    """A function that asks for the passphrase on the terminal (/dev/tty), or None if there is none.

    ``twice``: for a new one, which is lost if it was mistyped. ``which``: what it is called.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None

    def ask() -> str:
        question = f"{which} of the CA's key: "
        try:
            while True:
                passphrase = getpass.getpass(question)
                if not twice or not passphrase or getpass.getpass("The same again: ") == passphrase:
                    return passphrase
                question = "The two differ. Once more, the passphrase of the CA's key: "
        except EOFError as error:
            raise ConfigurationError("no passphrase was entered") from error

    return ask


def _from_credential(environ: MutableMapping[str, str]) -> bytes | None:
    """What systemd.exec(5), LoadCredential=, put there. systemd guards it, by an ACL that its mode hides."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        with (Path(directory) / CREDENTIAL).open("rb") as file:
            return _checked(_without_newline(file.read(_LONGEST + 2)), f"the credential {CREDENTIAL}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"the credential {CREDENTIAL} can't be read: {error.strerror}") from error


def _from_file(path: Path) -> bytes:
    """A pipe will do too: --passphrase-file <(pass show ca)."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                refuse_unless_guarded(path, status, secret=True)
            return _checked(_without_newline(file.read(_LONGEST + 2)), str(path))
    except OSError as error:
        raise ConfigurationError(f"the passphrase file {path} can't be read: {error.strerror}") from error


def _without_newline(content: bytes) -> bytes:
    """Without the one newline that an editor or echo put at the end."""
    return content[:-2] if content.endswith(b"\r\n") else content.removesuffix(b"\n")


def _checked(passphrase: bytes, what: str) -> bytes:
    if not passphrase:
        raise ConfigurationError(f"{what} is empty, and the CA's key needs a passphrase")
    if len(passphrase) > _LONGEST:
        raise ConfigurationError(f"{what} is longer than {_LONGEST} bytes: that is no passphrase")
    return passphrase


def _wipe_initial_environment(prefix: bytes) -> None:
    """Overwrite, with NULs, each string that starts with ``prefix`` in what /proc/PID/environ shows."""
    try:
        stat_line = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    except OSError as error:
        _log.warning("%s may still be seen in this process's initial environment: %s", VARIABLE, error)
        return
    # proc(5): env_start and env_end are fields 50 and 51; field 2, the name, may hold blanks and brackets.
    fields = stat_line.rpartition(")")[2].split()
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    offset = start
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        if entry.startswith(prefix):
            ctypes.memset(offset, 0, len(entry))
        offset += len(entry) + 1
