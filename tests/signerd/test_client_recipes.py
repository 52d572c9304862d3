"""The recipes of docs/clients.md, as they stand there, against both daemons: openssl, curl and a shell alone."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certs import lifetime_of, load, names_of
from tests.commands import ROOT, environment
from tests.csrs import OPENSSL_KEYS, openssl
from tests.running import Daemon

DOCUMENT = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
each_type_of_key = pytest.mark.parametrize("holder", ["rsa2048", "p256", "p384", "ed25519"], indirect=True)
HTTP_ERROR = 22  # curl(1), EXIT CODES: with --fail, a status of 400 or above


def blocks(section: str, language: str) -> list[str]:
    """The code of this language in a section of the document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)


MAKE_MAC_KEY, RELOAD, SEND_MAC, SEND_MAC_WITH_WISHES = blocks("A MAC under a shared key", "sh")
(HIDDEN_MAC,) = blocks("A MAC under a shared key", "bash")
(SIGN,) = blocks("Signatures by the certificate's key", "sh")
FIRST, RENEW, IS_IT_TIME = blocks("Renewal by the old key", "sh")
(REVOKE,) = blocks("Revoking one's own certificate", "sh")
(TRY_AGAIN,) = blocks("Trying again", "sh")
(DRY_RUN,) = blocks("When it is refused", "sh")


class Stack(Daemon):
    """``ca_start_dev``: the signer and the frontend."""

    def __init__(self) -> None:
        super().__init__()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{probe.getsockname()[1]}"
        self.directory = self.state / "ca"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "frontend.dev", "--state", str(self.directory), "--listen", self.listen]

    def answers(self) -> bool:
        return "is ready at" in self.log


class Client:
    """A client's machine, which is the signer's too: a directory, and a shell in it."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self._stack = stack
        self.directory = directory

    def here(self, text: str) -> str:
        """A recipe with the names of this machine in place of the document's."""
        text = text.replace("/etc/ca", str(self._stack.directory)).replace("chown ca:", "chown $(id -un):")
        return text.replace("ca_admin", str(Path(sys.executable).with_name("ca_admin")))

    def tries(self, *recipes: str, by: str = "bash") -> subprocess.CompletedProcess[str]:
        """Runs recipes, one after the other."""
        return subprocess.run(
            [by, "-eu", "-c", self.here("\n".join(recipes))],
            cwd=self.directory,
            env=environment(
                {"ca": f"http://{self._stack.listen}", "CA_ADMIN_SOCKET": str(self._stack.directory / "admin.sock")}
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def does(self, *recipes: str, by: str = "bash") -> str:
        """What recipes print; they must succeed."""
        done = self.tries(*recipes, by=by)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_refused(self, *recipes: str) -> None:
        """Recipes that end in an HTTP error."""
        done = self.tries(*recipes)
        assert done.returncode == HTTP_ERROR, done.stderr
        assert "403" in done.stderr

    def makes_csr(self, name: str, key_type: str = "p256", host: str | None = None) -> None:
        """A new key and a CSR."""
        openssl("genpkey", *OPENSSL_KEYS[key_type], "-out", self.directory / f"{name}.key")
        self.writes_csr(name, host or f"{name}.example.net")

    def writes_csr(self, name: str, host: str) -> None:
        files = ("-key", self.directory / f"{name}.key", "-out", self.directory / f"{name}.csr")
        openssl("req", "-new", *files, "-subj", f"/CN={host}")

    def serial(self, name: str) -> str:
        printed = openssl("x509", "-in", self.directory / f"{name}.pem", "-noout", "-serial").decode()
        return printed.strip().partition("=")[2].lower()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def configured(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The stack with the document's tables in its policy."""
    operator = Client(stack, tmp_path_factory.mktemp("operator"))
    operator.does(MAKE_MAC_KEY)
    tables = blocks("A MAC under a shared key", "toml") + blocks("Renewal by the old key", "toml")
    with (stack.directory / "signerd.toml").open("a") as file:
        file.write(operator.here("\n" + "\n".join(tables)))
    operator.does(RELOAD)
    return stack


@pytest.fixture
def client(configured: Stack, tmp_path: Path) -> Client:
    client = Client(configured, tmp_path)
    client.makes_csr("web1")
    (tmp_path / "web1.mac").write_bytes((configured.directory / "mac-keys/web1").read_bytes())
    return client


# --- MAC --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_mac_of_the_csr_gets_a_certificate(client: Client, shell: str) -> None:
    client.does(SEND_MAC, by=shell)
    assert_certificate(client, "web1")


def test_a_mac_of_a_request_for_a_profile_and_a_lifetime_gets_just_these(client: Client) -> None:
    client.does(SEND_MAC_WITH_WISHES)
    assert_certificate(client, "web1")
    certificate = load(openssl("x509", "-in", client.directory / "web1.pem", "-outform", "DER"))
    assert lifetime_of(certificate) == 30 * 86_400
    shown = json.loads(client.does(f"ca_admin --json show {client.serial('web1')}"))
    assert shown["profile"] == "server"
    client.is_refused(SEND_MAC_WITH_WISHES.replace("lifetime=30d", "lifetime=365d"))


def assert_certificate(client: Client, name: str) -> None:
    """The client has a certificate for its key and its name, by openssl's opinion too."""
    anchor = client.directory / "anchor.pem"
    anchor.write_text(client.does('curl -sSf "$ca/ca.pem"'))
    pem, key = client.directory / f"{name}.pem", client.directory / f"{name}.key"
    openssl("verify", "-x509_strict", "-CAfile", anchor, pem)
    certificate = load(openssl("x509", "-in", pem, "-outform", "DER"))
    assert names_of(certificate) == [f"{name}.example.net"]
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout")


@pytest.mark.parametrize(
    "key", ["64 characters as the recipe makes them", "short but a key", "a'b\"c\\d$e`f%s %d\\x41 é"]
)
def test_the_mac_that_hides_the_key_is_the_same(client: Client, key: str) -> None:
    if not key.startswith("64"):
        (client.directory / "web1.mac").write_text(key)
    at_one_time = "date() { echo 1790000000; }\n"
    plain = client.does(at_one_time, SEND_MAC.partition("\ncurl")[0], 'echo "$mac"')
    assert client.does(at_one_time, HIDDEN_MAC, 'echo "$mac"') == plain
    assert re.fullmatch(r"[0-9a-f]{64}\n", plain)


def test_without_a_mac_or_with_another_s_nothing_is_issued(client: Client) -> None:
    without = SEND_MAC.replace('-H "X-CSR-MAC: $now:$mac" ', "")
    assert without != SEND_MAC
    client.is_refused(without)
    (client.directory / "web1.mac").write_text("another key, of some length\n")
    client.is_refused(SEND_MAC)
    assert not (client.directory / "web1.pem").exists()


def test_a_mac_is_of_one_csr(client: Client) -> None:
    make, send = SEND_MAC.split("\ncurl")
    client.is_refused(
        make, "openssl req -new -key web1.key -out web1.csr -subj /CN=web1.example.net/O=X", f"curl{send}"
    )


def test_a_dry_run_says_what_was_missing(client: Client) -> None:
    for mac, ok, detail in (
        (SEND_MAC.partition("\ncurl")[0], True, "mac"),
        (f"now=$(date +%s) mac={'0' * 64}", False, "X-CSR-MAC is not this client's MAC of this request"),
    ):
        checked = json.loads(client.does(mac, DRY_RUN))
        (proof,) = [rule for rule in checked["rules"] if rule["rule"] == "proof"]
        assert (checked["allowed"], proof["ok"], proof["detail"]) == (ok, ok, detail)


def test_a_request_that_is_sent_again_gets_the_same_certificate(client: Client) -> None:
    make, send = SEND_MAC.split("\ncurl")
    client.does(make, TRY_AGAIN, "cp web1.pem first.pem", TRY_AGAIN, "cmp web1.pem first.pem", f"curl{send}")
    client.does("cmp web1.pem first.pem")
    client.does(make, "sleep 1", make, TRY_AGAIN, "cmp web1.pem first.pem")  # another proof


# --- renewal and revocation -------------------------------------------------------------------------


@pytest.fixture
def holder(client: Client, request: pytest.FixtureRequest) -> Client:
    """A client with a first certificate."""
    client.makes_csr("web2", getattr(request, "param", "p256"))
    client.does(FIRST)
    assert_certificate(client, "web2")
    return client


@each_type_of_key
def test_a_certificate_is_renewed_by_its_key_as_often_as_one_likes(holder: Client) -> None:
    serials = [holder.serial("web2")]
    for _ in range(2):
        holder.does(SIGN, RENEW, by="sh")
        assert_certificate(holder, "web2")
        serials.append(holder.serial("web2"))
    assert len(set(serials)) == 3
    assert holder.does(IS_IT_TIME) == "Certificate will not expire\n"


@each_type_of_key
def test_a_revoked_certificate_renews_nothing(holder: Client) -> None:
    revoked = json.loads(holder.does(SIGN, REVOKE, by="sh"))
    assert revoked["serial"] == holder.serial("web2")
    shown = json.loads(holder.does(f"ca_admin --json show {revoked['serial']}"))
    assert (shown["state"], shown["reason"]) == ("revoked", "keyCompromise")
    assert shown["revoked_at"] == revoked["revoked_at"]
    before = (holder.directory / "web2.pem").read_bytes()
    holder.is_refused(SIGN, RENEW)
    assert (holder.directory / "web2.pem").read_bytes() == before


def test_another_key_neither_renews_nor_revokes(holder: Client) -> None:
    openssl("genpkey", *OPENSSL_KEYS["p256"], "-out", holder.directory / "web2.key")
    holder.is_refused(SIGN, RENEW)
    holder.is_refused(SIGN, REVOKE)
    assert json.loads(holder.does(f"ca_admin --json show {holder.serial('web2')}"))["state"] == "valid"


def test_a_renewal_gets_no_name_that_the_old_certificate_has_not(holder: Client) -> None:
    more = RENEW.replace(
        "-subj /CN=web2.example.net", "-subj /CN=web2.example.net -addext subjectAltName=DNS:x.example.net"
    )
    assert more != RENEW
    holder.is_refused(SIGN, more)
    holder.is_refused(SIGN, RENEW.replace("web2.csr -subj /CN=web2", "web2.csr -subj /CN=web3"))


def test_a_first_certificate_is_not_had_without_an_operator(client: Client) -> None:
    client.makes_csr("web2")
    client.is_refused('curl -sSf -T web2.csr "$ca/api/csr/web2"')
