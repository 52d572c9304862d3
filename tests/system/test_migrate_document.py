"""docs/migrate.md: its commands, as they stand there, on a new machine to which an identity and hooks of ssl_api were
brought."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.identities import PASSPHRASE, openssl, ssl_api_certificate
from tests.system.documents import commands, matches, run_command
from tests.system.machine import CA_NAME, ROOT, Done, Machine, booted

COMMANDS = commands("migrate.md")
[HOOKS] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/migrate.md").read_text(), re.MULTILINE | re.DOTALL)
DRY_RUN = "curl -sS --unix-socket /run/ca-frontend/http.sock -o /srv/answer -w '%{http_code}' -T"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ssl_api had: an encrypted key in the traditional form, a certificate of version 1 signed with SHA-1 in
    ca.cert.pem, and what one of its certificates looks like; the list of clients, and a client's CSR."""
    directory = tmp_path_factory.mktemp("old-ca")
    key = rsa.generate_private_key(65537, 2048)
    plain = directory / "plain.pem"
    plain.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    encrypt = ("-aes128", "-traditional", "-passout", f"pass:{PASSPHRASE.decode()}")
    openssl("rsa", "-in", plain, *encrypt, "-out", directory / "ca.private_key.pem")
    openssl("rsa", "-in", plain, "-pubout", "-out", directory / "ca.public_key.pem")
    openssl(
        "req",
        "-new",
        "-key",
        plain,
        "-subj",
        "/C=US/CN=ca.net/emailAddress=ca@ca.net",
        "-out",
        directory / "ca.csr.pem",
    )
    certificate = ssl_api_certificate(key, version=1, serial=b"\0" + b"\xff" * 20)
    (directory / "ca.cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "clients").write_text("client4711\n")
    leaf = ("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", directory / "client.key")
    subject = ("-subj", "/OU=Client 4711", "-addext", "subjectAltName=DNS:client4711.example.net")
    openssl(*leaf, *subject, "-out", directory / "client4711.csr")
    openssl(*leaf, "-subj", "/CN=Client 4711", "-out", directory / "titled.csr")
    sign = ("-CA", directory / "ca.cert.pem", "-CAkey", plain, "-set_serial", "1", "-days", "365")
    openssl("x509", "-req", "-in", directory / "titled.csr", *sign, "-out", directory / "issued.pem")
    plain.unlink()
    return directory


@pytest.fixture(scope="module")
def moved(package: Path, old: Path) -> Iterator[tuple[Machine, list[Done]]]:
    """A machine on which somebody has followed the document, and what each command came to."""
    with booted(package, old) as machine:
        machine.run("! command -v ca_signerd && ! getent passwd ca && ! ls -d /etc/ca")
        machine.run(f"echo 127.0.0.1 {CA_NAME} >>/etc/hosts; systemctl start nginx; cp {package}/*.deb /root/")
        # As `scp -pr` leaves them: with the modes of ssl_api's instructions.
        machine.run(f"cp -r {old} /root/old-ca; chmod 750 /root/old-ca; chmod 640 /root/old-ca/ca.*.pem")
        machine.run(f"(umask 077; echo '{PASSPHRASE.decode()}' >/root/ca-passphrase)")
        machine.run(f"cat >/root/api.py <<'END'\n{HOOKS}\nEND")
        yield machine, [run_command(machine, command) for command in COMMANDS]


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[" ".join(one.line.split()[:3]) for one in COMMANDS])
def test_each_command_succeeds_and_prints_what_the_document_says(
    moved: tuple[Machine, list[Done]], number: int
) -> None:
    command, done = COMMANDS[number], moved[1][number]
    assert done.status == 0, f"{command.line}\n{done.stdout}"
    assert matches(command, done.stdout), f"{command.line}\n{done.stdout}"


def test_what_ssl_api_issued_is_valid_under_the_new_certificate(moved: tuple[Machine, list[Done]]) -> None:
    machine, _ = moved
    assert "OK" in machine.run("openssl verify -CAfile /root/old-ca/ca.cert.pem /root/old-ca/issued.pem")
    assert "OK" in machine.run("openssl verify -CAfile /var/lib/ca/ca.cert.pem /root/old-ca/issued.pem")
    strict = "openssl verify -x509_strict -CAfile /var/lib/ca/ca.cert.pem /etc/nginx/signerd/tls.pem"
    assert "OK" in machine.run(strict)


def test_the_hooks_decide_and_write_their_file(moved: tuple[Machine, list[Done]]) -> None:
    machine, _ = moved
    text = machine.run("openssl x509 -in /var/lib/ca-frontend/client4711.pem -noout -subject -ext subjectAltName")
    assert "OU = Client 4711" in text
    assert "DNS:client4711.example.net" in text
    assert machine.run(f"{DRY_RUN} /root/old-ca/client4711.csr http://localhost/api/csr/another?dry_run=1") == "403"


def test_a_title_for_a_cn_is_refused_in_words(moved: tuple[Machine, list[Done]]) -> None:
    machine, _ = moved
    put = "curl -sS --cacert /var/lib/ca/ca.cert.pem -T /root/old-ca/titled.csr"
    answer = json.loads(machine.run(f"{put} https://ca.example.net/api/csr/client4711"))
    assert (answer["status"], "Client 4711" in answer["detail"]) == (400, True)
    dry = machine.run(f"{put} 'https://ca.example.net/api/csr/client4711?dry_run=1'")
    [rule] = json.loads(dry)["rules"]
    assert (rule["ok"], "Client 4711" in rule["detail"]) == (False, True)


def test_the_modes_afterwards_are_those_that_the_document_names(moved: tuple[Machine, list[Done]]) -> None:
    machine, _ = moved
    modes = machine.run("cd /var/lib/ca; stat --format '%n %U:%G %a' . ca.private_key.pem ca.cert.pem ca.csr.pem")
    assert modes.splitlines() == [
        ". ca:ca 700",
        "ca.private_key.pem ca:ca 600",
        "ca.cert.pem ca:ca 644",
        "ca.csr.pem ca:ca 644",
    ]
