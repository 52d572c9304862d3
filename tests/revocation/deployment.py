"""A CA as ``ca_start_dev`` runs it, and those who rely on its certificates: each asks where the certificate says."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.commands import ROOT, Operator
from tests.running import Daemon
from tests.tls import free_port

DOCUMENT = (ROOT / "docs" / "revocation.md").read_text(encoding="utf-8")
SEEN_WITHIN = 10.0  # seconds from the revocation until everybody who asks is told
_SUBJECT_ALT_NAME = "subjectAltName=DNS:localhost,DNS:web1.example.net,IP:127.0.0.1"


class Certificate:
    """One certificate and its key, as files, with what it says about where to ask."""

    def __init__(self, directory: Path, ca: Path) -> None:
        self.path, self.key, self.ca = directory / "leaf.pem", directory / "leaf.key", ca
        self.directory = directory

    @property
    def serial(self) -> str:
        return sh(f"openssl x509 -in {self.path} -noout -serial").partition("=")[2].strip().lower()

    @property
    def ocsp_url(self) -> str:
        return sh(f"openssl x509 -in {self.path} -noout -ocsp_uri").strip()

    @property
    def crl_url(self) -> str:
        text = sh(f"openssl x509 -in {self.path} -noout -ext crlDistributionPoints")
        [url] = re.findall(r"URI:(\S+)", text)
        return str(url)

    def fetch_crl(self) -> Path:
        """The CRL that the certificate names, fetched by curl, as PEM."""
        path = self.directory / "crl.pem"
        sh(f"curl -sSf {self.crl_url} | openssl crl -inform DER -out {path}")
        return path


class Deployment(Daemon):
    """The signer and the frontend."""

    def __init__(self) -> None:
        super().__init__()
        self.listen = f"127.0.0.1:{free_port()}"
        self.directory = self.state / "ca"
        self.ca = self.directory / "identity" / "ca.crt.pem"
        self.operator = Operator(str(self.directory / "admin.sock"), self.state)

    @property
    def url(self) -> str:
        """Where it is reached: what certificates say."""
        return f"http://{self.listen}"

    def passphrase(self) -> bytes:
        """Of the CA's key."""
        return (self.directory / "passphrase").read_bytes().strip()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "frontend.dev", "--state", str(self.directory), "--listen", self.listen]

    def answers(self) -> bool:
        return attempt(f"curl -sf -o /dev/null {self.url}/readyz").returncode == 0

    def issue(self, directory: Path, client: str = "web1") -> Certificate:
        """A certificate for localhost, by HTTP, with openssl and curl."""
        sh(
            f"cd {directory} && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key"
            f" -out leaf.csr -subj / -addext {_SUBJECT_ALT_NAME} 2>&1 && curl -sSf -T leaf.csr -o leaf.pem"
            f" -H 'Accept: application/pem-certificate-chain' http://{self.listen}/api/csr/{client}"
        )
        return Certificate(directory, self.ca)

    def revoke(self, certificate: Certificate, reason: str = "keyCompromise") -> None:
        """By ca_admin."""
        done = self.operator.tries("revoke", certificate.serial, "--reason", reason, "--yes")
        assert done.returncode == 0, done.stderr


def recipe(after: str, names: Mapping[str, str]) -> str:
    """The first block of commands in docs/revocation.md that comes after this text, with other names in it."""
    _, _, rest = DOCUMENT.partition(after)
    block = rest.partition("```sh\n")[2].partition("```")[0]
    for name, ours in names.items():
        assert name in block, f"{name} is not in the document's recipe"
        block = block.replace(name, ours)
    return block


def attempt(script: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script, whatever comes of it."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        errors="replace",
    )


def sh(script: str) -> str:
    """What a shell script prints. Fails, with its complaint, when it does."""
    done = attempt(script)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def soon(condition: Callable[[], bool], what: str) -> None:
    """Waits until ``condition`` holds. Fails with ``what`` when it doesn't in the time that is promised."""
    deadline = time.monotonic() + SEEN_WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"not within {SEEN_WITHIN:g} s: {what}"
        time.sleep(0.2)
