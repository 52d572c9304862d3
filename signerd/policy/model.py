"""The tables of signerd.toml. What has no field here can't be configured: no CA, no key usage, no version.

An unknown key is an error that names its path (``protocol.settings``).
"""

from msgspec import Struct, field

# A profile that says nothing is the default profile: a leaf for TLS on both ends, at most a year.
KEY_TYPES = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384", "ed25519")
SUBJECT = ("CN", "O", "OU")


class SignerTable(Struct, frozen=True):
    """[signer]"""

    identity: str | None = None  # else SAPI_CA_PATH, as ever, else /var/lib/ca
    ledger: str = "/var/lib/ca/ledger.db"
    sign_socket: str = "/run/ca/sign.sock"  # used only where systemd hands no socket over
    admin_socket: str = "/run/ca/admin.sock"
    sign_users: tuple[str, ...] = ("ca-web",)  # who may speak on sign.sock: names or uids
    admin_group: str = "ca-admin"
    base_url: str | None = None
    crl_lifetime: str = "7d"  # from one CRL's thisUpdate to its nextUpdate; a new one comes at half of it
    ocsp_lifetime: str = "1d"  # the same of an OCSP answer: how long a stapled one outlives the signer
    blocked_keys: str | tuple[str, ...] | None = None  # files of keys that get no certificate
    prune_after: str = "30d"  # from a certificate's end until it leaves the search index; the record stays
    custom: str = "/etc/ca/custom"  # where sapi_custom_ca/ca.py may be; only root may write there


class NamesTable(Struct, frozen=True):
    """[profile.NAME.names]: with this table only these names, by kind; deny wins."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    wildcards: bool = False
    deny_dns: tuple[str, ...] = ()
    deny_ip: tuple[str, ...] = ()
    deny_email: tuple[str, ...] = ()
    deny_uri: tuple[str, ...] = ()


class ProfileTable(Struct, frozen=True):
    """[profile.NAME]"""

    lifetime: str = "90d"
    lifetime_max: str = "365d"
    extended_key_usage: tuple[str, ...] = ("serverAuth", "clientAuth")
    key_types: tuple[str, ...] = KEY_TYPES
    extra_extensions: tuple[str, ...] = ()
    subject: tuple[str, ...] = SUBJECT
    bytes_max: str = "8KiB"
    names: NamesTable | None = None
    quota: str | None = None


class ClientTable(Struct, frozen=True):
    """[client.ID]: what this client may have, and how it proves to the signer that it is the one."""

    profiles: tuple[str, ...] | None = None
    dns: tuple[str, ...] | None = None
    ip: tuple[str, ...] | None = None
    email: tuple[str, ...] | None = None
    uri: tuple[str, ...] | None = None
    quota: str | None = None
    mac_key_file: str | None = None
    renew_with_key: bool = False


class QuotaTable(Struct, frozen=True):
    """[quota]: how many certificates in which time, and how many bytes of the ledger; a sliding window."""

    per_client: str | None = None
    total: str | None = None
    bytes: str | None = None
    freeze_above: str | None = None


class PolicyFile(Struct, frozen=True):
    """The whole of signerd.toml."""

    signer: SignerTable = field(default_factory=SignerTable)
    profile: dict[str, ProfileTable] = field(default_factory=dict)
    client: dict[str, ClientTable] = field(default_factory=dict)
    quota: QuotaTable = field(default_factory=QuotaTable)
