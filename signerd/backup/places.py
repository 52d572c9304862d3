"""What an installation consists of besides its programs, and where it lies: a closed list.

Nothing else is backed up, and a restore writes nowhere else, whatever a manifest says.
"""

import os
import posixpath
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signerd.identity import CERTIFICATE_NAMES
from signerd.new_identity import IDENTITY_NAMES

SETTINGS = "/etc/ca/signerd.toml"
SITE = "/etc/nginx/sites-available/signerd"
SITE_LINK = "/etc/nginx/sites-enabled/signerd"
SITE_LINK_TARGET = "../sites-available/signerd"

# The units that signerd brings (packaging/commands.sh).
UNITS = (
    "ca-signerd.service",
    "ca-sign.socket",
    "ca-admin.socket",
    "ca-frontend.service",
    "ca-frontend.socket",
    "ca-passphrase.socket",
    "ca-passphrase@.service",
    "ca-renew-nginx.service",
    "ca-renew-nginx.timer",
)
# Settings, hooks, custom code and clients' keys; nginx's certificate and key.
_TREES = ("/etc/ca", "/etc/nginx/signerd")
_UNIT_FILE = re.compile(rf"/etc/systemd/system/(?:{'|'.join(map(re.escape, UNITS))})(?:\.d/[\w.@-]+\.conf)?")
_NO_SOURCES = {"__pycache__"}

# Settings of signerd.toml that name a file or directory of the operator's.
_NAMED = {"mac_key_file", "blocked_keys", "custom"}


@dataclass(frozen=True)
class Places:
    """The places of one installation: its identity's directory and its ledger are where its settings say."""

    identity: str
    ledger: str

    @classmethod
    def of(cls, settings: bytes) -> "Places":
        """By the text of signerd.toml. Raises ValueError."""
        signer = _tables(settings).get("signer", {})
        identity = signer.get("identity") or os.environ.get("SAPI_CA_PATH", "/var/lib/ca")
        ledger = signer.get("ledger", "/var/lib/ca/ledger.db")
        if not (is_plain(identity) and is_plain(ledger)):
            raise ValueError("[signer] identity and ledger have to be plain absolute paths")
        return cls(identity, ledger)

    def allows(self, path: str) -> bool:
        """Whether a file of the installation may lie at ``path``."""
        return is_plain(path) and (
            path in {self.ledger, SITE, *self._identity_files()}
            or path.startswith(tuple(f"{tree}/" for tree in _TREES))
            or _UNIT_FILE.fullmatch(path) is not None
        )

    def allows_directory(self, path: str) -> bool:
        """Whether a directory of the installation may be at ``path``."""
        return is_plain(path) and (path in self._own() or f"{path}/".startswith(tuple(f"{one}/" for one in _TREES)))

    def files(self, root: Path) -> list[str]:
        """The files that there are under ``root``, but for the ledger. Raises ValueError for what is no file."""
        single = [*self._identity_files(), SITE, *_unit_files(root)]
        found = [path for path in single if os.path.lexists(under(root, path))]
        found += [path for path, is_directory in _walk(root) if not is_directory]
        for path in found:
            if not stat.S_ISREG(under(root, path).lstat().st_mode):
                raise ValueError(f"{path} is no regular file, and can't be in a backup: put the file itself there")
        return sorted(found)

    def directories(self, root: Path) -> list[str]:
        """The directories that there are under ``root``."""
        own = [path for path in self._own() if under(root, path).is_dir()]
        return sorted(own + [path for path, is_directory in _walk(root) if is_directory])

    def certificate(self, root: Path) -> Path:
        """The CA's certificate. Raises ValueError."""
        for name in CERTIFICATE_NAMES:
            if (path := under(root, posixpath.join(self.identity, name))).exists():
                return path
        raise ValueError(f"{self.identity} holds no certificate")

    def _own(self) -> set[str]:
        """The directories that the signer's files lie in, which have to be the signer's."""
        return {self.identity, posixpath.dirname(self.ledger)}

    def _identity_files(self) -> list[str]:
        return [posixpath.join(self.identity, name) for name in (*IDENTITY_NAMES, "ledger.key.pem")]


def under(root: Path, path: str) -> Path:
    """An installation's path in the file system at ``root``."""
    return root / path.removeprefix("/")


def is_plain(path: str) -> bool:
    """Whether an absolute path is written in one way only: no . or .., no doubled slash, nothing unprintable."""
    # POSIX lets two slashes at the start mean something else than one, so normpath leaves them.
    return path[:1] == "/" != path[1:2] and len(path) > 1 and path.isprintable() and posixpath.normpath(path) == path


def outside(settings: bytes) -> list[str]:
    """What signerd.toml names and the closed list does not have, so that a backup lacks it. Raises ValueError."""
    return sorted({path for path in _named(_tables(settings)) if not f"{path}/".startswith(f"{_TREES[0]}/")})


def _tables(settings: bytes) -> dict[str, Any]:
    return tomllib.loads(settings.decode())


def _named(table: dict[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _named(value)
        elif key in _NAMED and isinstance(value, str):
            yield value


def _unit_files(root: Path) -> Iterator[str]:
    for unit in UNITS:
        path = f"/etc/systemd/system/{unit}"
        if not under(root, path).is_symlink():  # one is how systemd knows of an alias, or of a mask
            yield path
        yield from (f"{path}.d/{drop_in.name}" for drop_in in under(root, f"{path}.d").glob("*.conf"))


def _walk(root: Path) -> Iterator[tuple[str, bool]]:
    """What is in the trees, and whether it is a directory; symbolic links are not followed."""
    for tree in _TREES:
        top = under(root, tree)
        if top.is_dir():
            yield tree, True
        for path in top.rglob("*"):
            if not _NO_SOURCES & {*path.parts}:
                yield f"/{path.relative_to(root)}", path.is_dir() and not path.is_symlink()
