"""The usages that openssl's command of today has nothing for: signed code, with time stamps in it, and IKE."""

import contextlib
import struct
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.csrs import openssl_key
from tests.interop.cases import GOOD, REVOKED, Case, assert_agrees, pem_of
from tests.matrix import CAS, LEAF_KEYS
from tests.revocation.deployment import attempt, sh

PAIRS = [*zip(CAS, (*LEAF_KEYS, "p256"), strict=True)]  # each kind of key once on either side: all of them take minutes
PASSWORD, STORE_PASSWORD = "pass:anything", "-storepass anything"
TSA = """
[tsa]
default_tsa = stamps
[stamps]
serial = {0}/serial
signer_cert = {0}/tsa.pem
signer_key = {0}/tsa.key
certs = {0}/chain.pem
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
signer_digest = sha256
"""


def _find(cases: list[Case], ca: str, usage: str, key_type: str) -> Case:
    what = f"{usage}-{key_type}-"
    return next(case for case in cases if case.ca == ca and case.what.startswith(what))


def _stamps(cases: list[Case], ca: str, key_type: str) -> Case:
    """Who stamps: with a key of the same kind, if openssl's TSA can use it."""
    return _find(cases, ca, "timeStamping", "p256" if key_type == "ed25519" else key_type)


def _chain(case: Case) -> str:
    return "".join(pem_of(one).read_text() for one in (case.leaf, *case.intermediates, case.root))


# --- time stamps ----------------------------------------------------------------------------------


@contextlib.contextmanager
def time_stamping_authority(case: Case, directory: Path) -> Iterator[str]:
    """A server of time stamps (RFC 3161, 3.4) with this certificate; its URL."""
    directory.mkdir()
    (directory / "tsa.conf").write_text(TSA.format(directory))
    (directory / "tsa.pem").write_text(pem_of(case.leaf).read_text())
    (directory / "tsa.key").write_bytes(openssl_key(case.key_type))
    (directory / "chain.pem").write_text(_chain(case))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (directory / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            sh(f"cd {directory} && openssl ts -reply -queryfile query -config tsa.conf -out reply")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((directory / "reply").read_bytes())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


# --- code -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ca", "key_type"), PAIRS)
def test_java_takes_a_jar_that_is_signed_and_stamped(cases: list[Case], tmp_path: Path, ca: str, key_type: str) -> None:
    _sign_jar(_find(cases, ca, "codeSigning", key_type), _stamps(cases, ca, key_type), tmp_path)
    said = sh(_verify_jar(tmp_path))
    assert "jar verified." in said
    assert "Timestamped by" in said


def test_java_takes_no_jar_that_a_server_signed(cases: list[Case], tmp_path: Path) -> None:
    _sign_jar(_find(cases, "p256", "serverAuth", "p256"), _stamps(cases, "p256", "p256"), tmp_path)
    done = attempt(_verify_jar(tmp_path))
    assert done.returncode == 8  # jarsigner(1): badExtendedKeyUsage, and nothing else


def _sign_jar(code: Case, stamps: Case, directory: Path) -> None:
    with zipfile.ZipFile(directory / "code.jar", "w") as jar:
        jar.writestr("hello.txt", "Good morning.")
    _write_signer(code, directory)
    sh(
        f"cd {directory}"
        f" && openssl pkcs12 -export -name code -inkey key -in chain.pem -passout {PASSWORD} -out keys.p12"
        f" && keytool -importcert -noprompt -keystore trusted.p12 {STORE_PASSWORD} -alias root -file {code.root}"
    )
    with time_stamping_authority(stamps, directory / "tsa") as url:
        sh(f"cd {directory} && jarsigner -tsa {url} -keystore keys.p12 {STORE_PASSWORD} code.jar code")


def _verify_jar(directory: Path) -> str:
    return (
        f"cd {directory} && jarsigner -verify -strict -verbose -certs -keystore trusted.p12 {STORE_PASSWORD} code.jar"
    )


@pytest.mark.parametrize(("ca", "key_type"), PAIRS)
def test_osslsigncode_takes_a_program_that_is_signed_and_stamped(
    cases: list[Case], tmp_path: Path, ca: str, key_type: str
) -> None:
    if key_type == "ed25519":  # which its PKCS #7 can't do
        with pytest.raises(AssertionError, match="Failed"):
            _sign_program(_find(cases, ca, "codeSigning", key_type), _stamps(cases, ca, key_type), tmp_path)
        return
    code = _find(cases, ca, "codeSigning", key_type)
    _sign_program(code, _stamps(cases, ca, key_type), tmp_path)
    trust = f"-CAfile {pem_of(code.root)} -TSA-CAfile {pem_of(code.root)} -CRLfile {pem_of(code.crl or code.root)}"
    said = sh(f"osslsigncode verify {trust} -in {tmp_path}/signed.exe")
    assert "Signature verification: ok" in said, said


def _sign_program(code: Case, stamps: Case, directory: Path) -> None:
    (directory / "code.exe").write_bytes(_smallest_program())
    _write_signer(code, directory)
    with time_stamping_authority(stamps, directory / "tsa") as url:
        sh(
            f"cd {directory} && osslsigncode sign -h sha256 -certs chain.pem -key key -ts {url}"
            " -in code.exe -out signed.exe"
        )


def _write_signer(code: Case, directory: Path) -> None:
    (directory / "key").write_bytes(openssl_key(code.key_type))
    (directory / "chain.pem").write_text(_chain(code))


def _smallest_program() -> bytes:
    """A PE32 file without sections, which no machine can run."""
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = struct.pack("<HHIIIHH", 0x14C, 0, 0, 0, 0, 224, 0x0102)
    sizes = (0, 0, 0, 0, 0, 0, 0x400000, 0x1000, 0x200)
    versions = struct.pack("<6H", 4, 0, 0, 0, 4, 0)
    rest = struct.pack("<4I2H6I", 0, 0x1000, 0x200, 0, 3, 0, 0, 0, 0, 0, 0, 16)
    headers = dos + b"PE\0\0" + coff + struct.pack("<HBB9I", 0x10B, 1, 0, *sizes) + versions + rest + bytes(16 * 8)
    return headers + bytes(1024 - len(headers))


# --- IKE ------------------------------------------------------------------------------------------


def test_strongswan_verifies_what_ike_is_to_use(cases: list[Case]) -> None:
    def instead(case: Case) -> str | None:
        # Whether the CA below the root is revoked its own CRL doesn't say.
        return "certificate status is good.*revocation checking failed" if case.ca == "below" else None

    asked = [case for case in cases if case.crl is not None and case.usage == "ipsecIKE"]
    asked += [case for case in cases if case.what == "superseded-by-crl" and case.ca != "below"]
    assert len(asked) == len(CAS) * len(LEAF_KEYS) + len(CAS) - 1
    assert_agrees(asked, {case.name: _strongswan(case) for case in asked}, instead)


def _strongswan(case: Case) -> str:
    above = " ".join(f"--cacert {one}" for one in (case.root, *case.intermediates))
    said = attempt(f"pki --verify --in {case.leaf} {above} --crl {case.crl} 2>&1").stdout
    if "certificate trusted, lifetimes valid, certificate not revoked" in said:
        return GOOD
    return REVOKED if "certificate was revoked" in said else said.replace("\n", " ")
