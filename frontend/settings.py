"""frontend.toml: every key of the HTTP side, its type and its default. An unknown key is an error."""

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocol.errors import ConfigurationError
from protocol.settings import read_toml

TRUST_UNIX_PEER = "unix"
_TCP = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})")


class Address(Struct, frozen=True):
    """Where to listen: a path, or an IP address and a port."""

    path: Path | None = None
    host: str = ""
    port: int = 0


class FrontendSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The table.

    ``listen``: "127.0.0.1:8080", "[::1]:8080" or "unix:/path"; a socket inherited from systemd beats it.
    ``sign_socket``: the signer's. ``hooks``: the operator's module; none: ``sapi_custom_ca.api`` if there
    is one. ``workers``: processes; more than one helps only with more than two cores. ``threads``: requests
    served at the same time, per process. ``trusted_proxy``: the address of the peer whose X-Forwarded-For
    is believed, or "unix" for whoever connects by the unix socket. ``metrics_listen``: if set, /metrics is
    served there and nowhere else.
    """

    listen: str = "127.0.0.1:8080"
    sign_socket: str = "/run/ca/sign.sock"
    hooks: Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")] | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    threads: Annotated[int, Meta(ge=1, le=256)] = 64
    trusted_proxy: str | None = None
    metrics_listen: str | None = None

    def __post_init__(self) -> None:
        parse_address(self.listen, "listen")
        if self.metrics_listen is not None:
            parse_address(self.metrics_listen, "metrics_listen")
        if self.trusted_proxy not in {None, TRUST_UNIX_PEER}:
            try:
                ipaddress.ip_address(str(self.trusted_proxy))
            except ValueError:
                raise ValueError('trusted_proxy: neither an IP address nor "unix"') from None

    def override(self, *, listen: str | None, workers: int | None) -> "FrontendSettings":
        """These settings with what the command line says instead. Raises ``ConfigurationError``."""
        said = {"listen": listen, "workers": workers}
        try:
            return msgspec.structs.replace(self, **{key: value for key, value in said.items() if value is not None})
        except ValueError as error:
            raise ConfigurationError(str(error)) from None


def parse_address(text: str, key: str) -> Address:
    """The address that ``text`` names. Raises ValueError, naming ``key``."""
    if text.startswith("unix:/"):
        return Address(path=Path(text.removeprefix("unix:")))
    if match := _TCP.fullmatch(text):
        host, port = match["v6"] or match["v4"], int(match["port"])
        kind = ipaddress.IPv6Address if match["v6"] else ipaddress.IPv4Address
        with contextlib.suppress(ValueError):
            kind(host)
            if port < 2**16:
                return Address(host=host, port=port)
    raise ValueError(f'{key}: {text!r} is none of "127.0.0.1:8080", "[::1]:8080" and "unix:/path"')


def read_settings(path: Path) -> FrontendSettings:
    """The settings in the file. Raises ``ConfigurationError``, naming file and key."""
    return read_toml(path, FrontendSettings)


def describe_settings(settings: FrontendSettings) -> str:
    """The settings as lines of text, defaults too: for `ca_frontend --check-config`."""
    values = msgspec.structs.asdict(settings)
    return "\n".join(f"{key}: {'not set' if value is None else value}" for key, value in values.items())
