"""ca_admin doctor: the passphrase of the CA's key, from where the signer will have it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from signerd.commands.finding import Finding, Level, output_of, text_of
from signerd.passphrase import CREDENTIAL, VARIABLE

_UNIT = "ca-signerd.service"
_ENCRYPTED_STORE = Path("/etc/credstore.encrypted", CREDENTIAL)
_PLAIN_STORE = Path("/etc/credstore", CREDENTIAL)
_MAKE_CREDENTIAL = (
    f"systemd-creds encrypt --name={CREDENTIAL} PASSPHRASE_FILE {_ENCRYPTED_STORE}, then: systemctl restart ca-signerd"
)


@dataclass(frozen=True)
class Source:
    """Where a passphrase comes from. ``where`` completes "the one …", ``advice`` is what to do if it is wrong;
    ``findings`` are what is to be said of the source itself."""

    passphrase: bytes | None = None
    where: str = ""
    advice: str = _MAKE_CREDENTIAL
    findings: tuple[Finding, ...] = ()


def units_source(own: bytes | None) -> Source:
    """What systemd's signer gets. ``own``: what CA_PASSPHRASE was in our environment, if nothing else is found."""
    encrypted, path = _credential_setting()
    if path.endswith(".sock"):
        return Source(findings=(Finding("passphrase", Level.OK, "a person types it at each start of the signer"),))
    store = Path(path or (_ENCRYPTED_STORE if encrypted else _PLAIN_STORE))
    if store.exists():
        return _from_encrypted(store) if encrypted else _from_plain(store)
    if (set_in_unit := _unit_variable()) is not None:
        detail = f"{VARIABLE} is in the environment of {_UNIT}, where every user of this machine can read it"
        finding = Finding("passphrase", Level.WARNING, detail, _MAKE_CREDENTIAL)
        return Source(set_in_unit, f"in the environment of {_UNIT}", findings=(finding,))
    missing = Finding("passphrase", Level.PROBLEM, f"there is no {store}", _MAKE_CREDENTIAL)
    return Source(own, f"in {VARIABLE}", findings=(missing,))


def source_by_hand(config: Path, own: bytes | None) -> Source:
    """What a signer is given that was started by hand: by ca_start_dev from a file beside its settings."""
    file = config.with_name("passphrase")
    if file.exists():
        return Source(_stripped(file.read_bytes()), f"in {file}", "bring back what ca_start_dev made there")
    if own is not None:
        return Source(own, f"in {VARIABLE}", f"set {VARIABLE} to the one that the key was encrypted with")
    detail, advice = "it isn't here to be tried", f"set {VARIABLE} for ca_admin doctor, on a machine of your own"
    return Source(findings=(Finding("passphrase", Level.UNKNOWN, detail, advice),))


def _from_encrypted(store: Path) -> Source:
    passphrase = output_of("systemd-creds", "decrypt", f"--name={CREDENTIAL}", str(store), "-")
    if passphrase is not None:
        return Source(_stripped(passphrase), f"in {store}")
    detail = f"{store} can't be decrypted: it was made on another machine, or is damaged"
    return Source(findings=(Finding("passphrase", Level.PROBLEM, detail, _MAKE_CREDENTIAL),))


def _from_plain(store: Path) -> Source:
    finding = Finding("passphrase", Level.WARNING, f"it lies on the disk in the clear: {store}", _MAKE_CREDENTIAL)
    return Source(_stripped(store.read_bytes()), f"in {store}", findings=(finding,))


def _credential_setting() -> tuple[bool, str]:
    """Whether the unit takes an encrypted credential, and the path that it names: the last line counts."""
    # systemctl show prints these as "[unprintable]".
    unit = text_of("systemctl", "cat", _UNIT) or ""
    pattern = rf"^LoadCredential(Encrypted)?={CREDENTIAL}(?::(\S+))?$"
    lines = re.findall(pattern, unit, flags=re.MULTILINE)
    return (lines[-1][0] != "", lines[-1][1]) if lines else (True, "")


def _unit_variable() -> bytes | None:
    """What Environment= or EnvironmentFile= of the unit, or a drop-in of it, sets CA_PASSPHRASE to."""
    lines = shlex.split(text_of("systemctl", "show", _UNIT, "--property=Environment", "--value") or "")
    for shown in (text_of("systemctl", "show", _UNIT, "--property=EnvironmentFiles", "--value") or "").splitlines():
        path = Path(shown.rpartition(" (")[0])
        lines += shlex.split(path.read_text(errors="replace"), comments=True) if path.is_file() else []
    found = [value for name, _, value in (line.partition("=") for line in lines) if name == VARIABLE]
    return found[-1].encode() if found else None


def _stripped(content: bytes) -> bytes:
    """Without the newline that an editor put at the end."""
    return content.removesuffix(b"\n").removesuffix(b"\r")
