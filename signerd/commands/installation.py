"""Which installation ca_admin doctor looks at: systemd's, or one that was started by hand (ca_start_dev)."""

from dataclasses import dataclass
from pathlib import Path

from signerd.commands.admin_socket import DEFAULT_SOCKET

_SETTINGS = Path("/etc/ca/signerd.toml")


@dataclass(frozen=True)
class Installation:
    """Where its settings lie, and who starts its daemons."""

    config: Path
    frontend_config: Path
    by_systemd: bool

    @classmethod
    def at(cls, socket: str, config: Path | None) -> "Installation":
        """The one whose admin socket this is; ``config``: what --config says, if anything.

        A socket other than systemd's has the settings of its signer beside it, as ca_start_dev puts them there.
        """
        beside = Path(socket).with_name(_SETTINGS.name)
        by_systemd = socket == DEFAULT_SOCKET
        config = config or (_SETTINGS if by_systemd or not beside.exists() else beside)
        return cls(config, config.with_name("frontend.toml"), by_systemd)
