"""ca_admin doctor: the CA's identity, and the passphrase that opens its key."""

import re
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol.errors import ConfigurationError
from protocol.times import rfc3339
from signerd.ca_certificate import check_chain, check_own_certificate, load_chain
from signerd.commands.finding import Finding, Level, output_of, text_of
from signerd.identity import CERTIFICATE_NAMES, PRIVATE_KEY_NAME

_DAY = 86_400
_CREDENTIAL = "ca_passphrase"
_ENCRYPTED_STORE = Path("/etc/credstore.encrypted", _CREDENTIAL)
_PLAIN_STORE = Path("/etc/credstore", _CREDENTIAL)
_MAKE_CREDENTIAL = (
    f"systemd-creds encrypt --name={_CREDENTIAL} PASSPHRASE_FILE {_ENCRYPTED_STORE}, then: systemctl restart ca-signerd"
)
_RENEW = "renew it in good time: docs/operate.md says how"


def check_identity(directory: Path, longest: int, now: int) -> Iterator[Finding]:
    """The certificate can be a CA's, and lives longer than the ``longest`` certificate it may issue (seconds)."""
    found = [directory / name for name in CERTIFICATE_NAMES if (directory / name).exists()]
    if not found:
        detail = f"{directory} holds no {CERTIFICATE_NAMES[0]}"
        yield Finding("identity", Level.PROBLEM, detail, "ca_create_identity makes one; or copy your own there")
        return
    try:
        chain = load_chain(found[0].read_bytes(), str(found[0]))
        check_own_certificate(chain[0], str(found[0]), now)
        check_chain(chain, str(found[0]), now)
    except ConfigurationError as error:
        yield Finding("identity", Level.PROBLEM, str(error), _RENEW)
        return
    yield _expiry(chain, longest, now)
    key = directory / PRIVATE_KEY_NAME
    if not key.exists():
        yield Finding("identity", Level.PROBLEM, f"{key} isn't there", "bring it back from a backup")
    elif not re.search(rb"ENCRYPTED", key.read_bytes()):
        detail = f"{key} is not encrypted: whoever gets hold of a copy of it is this CA"
        yield Finding("identity", Level.WARNING, detail, f"openssl pkcs8 -topk8 -scrypt -in {key} -out NEW")


def _expiry(chain: tuple[x509.Certificate, ...], longest: int, now: int) -> Finding:
    end = min(int(certificate.not_valid_after_utc.timestamp()) for certificate in chain)
    detail = f"{chain[0].subject.rfc4514_string()} is valid until {rfc3339(end)}, {(end - now) // _DAY} days"
    if end - now < longest:
        return Finding("identity", Level.WARNING, f"{detail}: less than a certificate may live", _RENEW)
    return Finding("identity", Level.OK, detail)


def check_credential(directory: Path) -> Iterator[Finding]:
    """The passphrase that systemd will hand over opens the key."""
    key = directory / PRIVATE_KEY_NAME
    if not key.exists() or b"ENCRYPTED" not in (content := key.read_bytes()):
        return
    encrypted, source = _credential_setting()
    if source.endswith(".sock"):
        yield Finding("passphrase", Level.OK, "a person types it at each start of the signer")
        return
    store = Path(source or (_ENCRYPTED_STORE if encrypted else _PLAIN_STORE))
    if encrypted:
        passphrase = output_of("systemd-creds", "decrypt", f"--name={_CREDENTIAL}", str(store), "-")
    else:
        passphrase = store.read_bytes() if store.exists() else None
        yield Finding("passphrase", Level.WARNING, f"it lies on the disk in the clear: {store}", _MAKE_CREDENTIAL)
    if not store.exists():
        yield Finding("passphrase", Level.PROBLEM, f"there is no {store}", _MAKE_CREDENTIAL)
    elif passphrase is None:
        detail = f"{store} can't be decrypted: it was made on another machine, or is damaged"
        yield Finding("passphrase", Level.PROBLEM, detail, _MAKE_CREDENTIAL)
    elif not _opens(content, passphrase.removesuffix(b"\n").removesuffix(b"\r")):
        yield Finding("passphrase", Level.PROBLEM, f"the one in {store} doesn't open {key}", _MAKE_CREDENTIAL)
    else:
        yield Finding("passphrase", Level.OK, f"the one in {store} opens the key")


def _credential_setting() -> tuple[bool, str]:
    """Whether the unit takes an encrypted credential, and the path that it names: the last line counts."""
    # systemctl show prints these as "[unprintable]".
    unit = text_of("systemctl", "cat", "ca-signerd.service") or ""
    pattern = rf"^LoadCredential(Encrypted)?={_CREDENTIAL}(?::(\S+))?$"
    lines = re.findall(pattern, unit, flags=re.MULTILINE)
    return (lines[-1][0] != "", lines[-1][1]) if lines else (True, "")


def _opens(key: bytes, passphrase: bytes) -> bool:
    try:
        load_pem_private_key(key, passphrase)
    except (ValueError, TypeError):
        return False
    return True
