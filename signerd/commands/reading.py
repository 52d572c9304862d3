"""The settings, read as the user will read them who runs with them."""

from pathlib import Path

from protocol.errors import ConfigurationError
from protocol.settings import read_toml
from signerd.as_user import acting_as, signer_user
from signerd.files import Owner, user_name
from signerd.policy.model import PolicyFile
from signerd.policy.policy import Policy, load_policy


def read_as_signer(config: Path) -> tuple[Policy, Owner]:
    """The policy, and as whom it was read: for root, the user whom the signer runs as. Raises ``ConfigurationError``,
    which says that too."""
    user = signer_user(Path(read_toml(config, PolicyFile).signer.ledger))
    try:
        with acting_as(user):
            return load_policy(config), user
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} ({read_as(user)})") from None


def read_as(user: Owner) -> str:
    """As whom the settings were read, for people."""
    return f"read as {user_name(user.uid)}, whom the signer runs as{'' if user.uid else ' with --allow-root'}"
