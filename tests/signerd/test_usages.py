"""Each usage that a profile can have, by the openssl command that it is for; tests/interop has other programs."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests import certs
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import OPENSSL_KEYS, openssl_csr, private_key
from tests.identities import DAY, ca_certificate
from tests.tls import tls_server

POLICY = """
[profile.server]
extended_key_usage = ["serverAuth"]
[profile.client]
extended_key_usage = ["clientAuth"]
[profile.mail]
extended_key_usage = ["emailProtection"]
[profile.code]
extended_key_usage = ["codeSigning"]
[profile.stamp]
extended_key_usage = ["timeStamping"]
"""
RSA_AND_EC = [key for key in OPENSSL_KEYS if key != "ed25519"]  # OpenSSL's TSA and CMS take no EdDSA before 3.2


@pytest.fixture
def at(tmp_path: Path) -> Iterator[LocalAuthority]:
    now = int(time.time())  # the commands know no other
    root = ca_certificate(private_key("p256"), not_before=now - DAY, not_after=now + 100 * DAY)
    with local_authority(tmp_path, POLICY, certificate=root, now=now) as one:
        (tmp_path / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
        yield one


class Holder:
    """A certificate of this profile and its key, as files in ``directory``, where the commands run."""

    def __init__(
        self, at: LocalAuthority, directory: Path, profile: str, key_type: str = "p256", usage: str = "digitalSignature"
    ) -> None:
        self.directory = directory
        names = ("-addext", "subjectAltName=DNS:localhost,email:jane@example.net")
        csr = openssl_csr(directory, key_type, *names, "-addext", f"keyUsage={usage}")
        self.certificate = at.issue(csr, profile=profile)
        self.path, self.key = directory / f"{profile}.pem", directory / f"{key_type}.pem"
        self.path.write_bytes(self.certificate.public_bytes(Encoding.PEM))


def tries(directory: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """openssl, in this directory."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


def succeeds(directory: Path, *arguments: str | Path) -> str:
    done = tries(directory, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- TLS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_a_server_and_a_client_take_each_other(at: LocalAuthority, tmp_path: Path, key_type: str) -> None:
    server, client = Holder(at, tmp_path, "server", key_type), Holder(at, tmp_path, "client", key_type)
    assert _connects(tmp_path, server, client)


def test_neither_of_the_two_stands_for_the_other(at: LocalAuthority, tmp_path: Path) -> None:
    server, client, code = (Holder(at, tmp_path, name) for name in ("server", "client", "code"))
    assert not _connects(tmp_path, client, client)
    assert not _connects(tmp_path, server, server)
    assert not _connects(tmp_path, server, code)


def _connects(directory: Path, server: Holder, client: Holder) -> bool:
    """Whether TLS 1.3 with a certificate on both ends is set up, each end insisting on the other's."""
    trust = ("-CAfile", directory / "ca.pem", "-verify_return_error")
    with tls_server(server.path, server.key, "-Verify", "1", *trust) as port:
        connect = ("s_client", "-connect", f"127.0.0.1:{port}", "-verify_hostname", "localhost", "-ign_eof", *trust)
        done = subprocess.run(
            ["openssl", *map(str, (*connect, "-cert", client.path, "-key", client.key))],
            input=b"GET / HTTP/1.0\r\n\r\n",
            capture_output=True,
            check=False,
            timeout=60,
        )
    return done.returncode == 0 and b"HTTP/1.0 200" in done.stdout


# --- mail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", RSA_AND_EC)
def test_mail_is_signed(at: LocalAuthority, tmp_path: Path, key_type: str) -> None:
    holder = Holder(at, tmp_path, "mail", key_type)
    _sign_mail(tmp_path, holder)
    assert "successful" in succeeds(tmp_path, "cms", "-verify", "-in", "signed.eml", "-CAfile", "ca.pem")


def test_who_may_only_sign_code_signs_no_mail(at: LocalAuthority, tmp_path: Path) -> None:
    _sign_mail(tmp_path, Holder(at, tmp_path, "code"))
    refused = tries(tmp_path, "cms", "-verify", "-in", "signed.eml", "-CAfile", "ca.pem")
    assert refused.returncode != 0
    assert "unsuitable certificate purpose" in refused.stderr


def _sign_mail(directory: Path, holder: Holder) -> None:
    (directory / "mail.txt").write_text("Good morning.\n")
    signed = ("cms", "-sign", "-in", "mail.txt", "-text", "-signer", holder.path, "-inkey", holder.key)
    succeeds(directory, *signed, "-out", "signed.eml")


@pytest.mark.parametrize("key_type", RSA_AND_EC)
def test_mail_is_encrypted(at: LocalAuthority, tmp_path: Path, key_type: str) -> None:
    how = "keyEncipherment" if key_type.startswith("rsa") else "keyAgreement"
    holder = Holder(at, tmp_path, "mail", key_type, how)
    usage = certs.extension(holder.certificate, x509.KeyUsage).value
    assert usage.key_encipherment is key_type.startswith("rsa")
    assert usage.key_agreement is not usage.key_encipherment
    (tmp_path / "mail.txt").write_text("Good morning.\n")
    succeeds(tmp_path, "cms", "-encrypt", "-aes256", "-in", "mail.txt", "-out", "secret.eml", holder.path)
    shown = succeeds(tmp_path, "cms", "-decrypt", "-in", "secret.eml", "-recip", holder.path, "-inkey", holder.key)
    assert "Good morning." in shown


# --- code and time stamps -------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_a_key_that_signs_code_or_time_stamps_can_do_nothing_else(
    at: LocalAuthority, tmp_path: Path, key_type: str
) -> None:
    for profile, critical in ("code", False), ("stamp", True):
        certificate = Holder(at, tmp_path, profile, key_type).certificate
        usage = certs.extension(certificate, x509.KeyUsage).value
        assert usage.digital_signature
        assert not usage.key_encipherment
        extended = certs.extension(certificate, x509.ExtendedKeyUsage)
        assert extended.critical is critical
        assert len(list(extended.value)) == 1


TSA = """
[tsa]
default_tsa = stamps
[stamps]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@pytest.mark.parametrize("key_type", RSA_AND_EC)
def test_openssl_ts_stamps_and_takes_the_stamp(at: LocalAuthority, tmp_path: Path, key_type: str) -> None:
    holder = Holder(at, tmp_path, "stamp", key_type)
    _ask_for_a_stamp(tmp_path)
    assert "Status: Granted." in succeeds(tmp_path, *_stamp_by(holder), "-out", "reply.tsr") + succeeds(
        tmp_path, "ts", "-reply", "-in", "reply.tsr", "-text"
    )
    verify = ("ts", "-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "ca.pem")
    assert "Verification: OK" in succeeds(tmp_path, *verify)


def test_openssl_ts_takes_no_other_certificate(at: LocalAuthority, tmp_path: Path) -> None:
    _ask_for_a_stamp(tmp_path)
    refused = tries(tmp_path, *_stamp_by(Holder(at, tmp_path, "code")), "-out", "reply.tsr")
    assert refused.returncode != 0


def _ask_for_a_stamp(directory: Path) -> None:
    (directory / "tsa.conf").write_text(TSA)
    (directory / "data").write_text("This was there.\n")
    succeeds(directory, "ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query.tsq")


def _stamp_by(holder: Holder) -> tuple[str | Path, ...]:
    signer = ("-signer", holder.path, "-inkey", holder.key, "-config", "tsa.conf")
    return ("ts", "-reply", "-queryfile", "query.tsq", *signer)
