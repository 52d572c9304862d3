"""A new certificate for a root's old key and name: what was issued under the old one is valid under the new one too."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.as_user import acting_as
from signerd.ca_certificate import check_own_certificate
from signerd.files import Owner, write_private_file
from signerd.identity import CERTIFICATE_NAMES, Identity, is_key_encrypted, load_expiring_identity
from signerd.new_identity import aside_suffix, root_extensions, self_signed, validity

_log = logging.getLogger(__name__)


def renew_identity(
    directory: Path, lifetime_seconds: int, ask_passphrase: Callable[[], bytes], now: int, reader: Owner
) -> tuple[Identity, Path]:
    """Make the certificate of the root in ``directory`` anew, from ``now`` (seconds since the epoch) on.

    The old one is kept under a name that ends in the time. ``reader`` is whom the signer runs as: the identity has
    to be fit for that user. What is written belongs to whom the old file did. Returns the new identity and its
    certificate's file. Raises ValueError for a lifetime that can't be, ConfigurationError, OSError.
    """
    dates = validity(lifetime_seconds, now)
    with acting_as(reader):
        encrypted = is_key_encrypted(directory)
    passphrase = ask_passphrase() if encrypted else b""  # its source may be root's alone
    with acting_as(reader):
        old = load_expiring_identity(directory, lambda: passphrase)
    extensions = _extensions(old)
    certificate = self_signed(old.private_key, old.certificate.subject, dates, extensions)
    path = next(path for name in CERTIFICATE_NAMES if (path := directory / name).exists())
    check_own_certificate(certificate, f"the new {path.name}", now)
    status = directory.stat()
    # The owner of a directory may put links into it: as root one would follow them.
    with acting_as(Owner(status.st_uid, status.st_gid)):
        _replace(path, certificate.public_bytes(Encoding.PEM), now)
    return Identity(certificate, (certificate,), old.private_key), path


def _extensions(old: Identity) -> list[tuple[x509.ExtensionType, bool]]:
    """Those of a root made today; where the old certificate has one, what it says, and whatever else it has.

    Its key identifier above all: certificates that it issued name that one (RFC 5280, 4.2.1.1).
    """
    found = {extension.oid: extension for extension in old.certificate.extensions}
    identifier = found.get(x509.SubjectKeyIdentifier.oid)
    merged: list[tuple[x509.ExtensionType, bool]] = []
    for default, critical in _defaults(old):
        value: x509.ExtensionType = default
        extension = found.pop(default.oid, None)
        if isinstance(default, x509.AuthorityKeyIdentifier):  # the old one may name the old serial number
            if identifier is not None:
                value = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)
        elif extension is not None and not _lacks_a_right(extension.value):
            value = extension.value
        merged.append((value, critical))
    return merged + [(extension.value, extension.critical) for extension in found.values()]


def _defaults(old: Identity) -> list[tuple[x509.ExtensionType, bool]]:
    key = old.private_key.public_key()
    try:
        return root_extensions(key, old.certificate.subject)
    except (
        ValueError
    ):  # an emailAddress that is no mailbox: it stays in the subject, which can't change, and there alone
        return root_extensions(key, x509.Name([]))


def _lacks_a_right(value: x509.ExtensionType) -> bool:
    return isinstance(value, x509.KeyUsage) and not (value.key_cert_sign and value.crl_sign)


def _replace(path: Path, content: bytes, now: int) -> None:
    """Puts ``content`` at ``path``: at each moment there is a whole certificate, the old one or the new one."""
    others = [other for name in CERTIFICATE_NAMES[1:] if (other := path.with_name(name)) != path and other.exists()]
    suffix = aside_suffix([path, *others], now)
    status = path.stat()
    owner = Owner(status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    mode = status.st_mode & 0o777
    aside = path.with_name(f"{path.name}{suffix}")
    write_private_file(aside, path.read_bytes(), mode=mode, owner=owner)
    for other in others:  # the same certificate: two that differ would be refused
        other.rename(f"{other}{suffix}")
    write_private_file(path, content, mode=mode, owner=owner)
    _log.warning("the earlier certificate is kept as %s", aside)
