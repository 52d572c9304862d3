"""A CA whose certificate has expired is brought back by what docs/operate.md says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.documents import commands, run_command
from tests.system.machine import PYTHON, Machine, booted
from tests.system.serving import serve

# As if the CA had been made two years ago, for one year.
EXPIRE = """
import pwd, time
from pathlib import Path
from signerd.files import Owner
from signerd.renew_identity import renew_identity

passphrase = Path("/root/ca-passphrase").read_bytes().strip()
ca = pwd.getpwnam("ca")
year = 365 * 86_400
renew_identity(Path("/var/lib/ca"), year, lambda: passphrase, int(time.time()) - 2 * year, Owner(ca.pw_uid, ca.pw_gid))
"""
CERTIFICATE_OF_LAST_START = """
import hashlib, sqlite3
from protocol.wire import unpack

db = sqlite3.connect("file:/var/lib/ca/ledger.db?mode=ro", uri=True)
(body,) = db.execute("SELECT body FROM entries WHERE kind = 'start' ORDER BY seq DESC LIMIT 1").fetchone()
print(hashlib.sha256(unpack(body)["certificate"]).hexdigest())
"""
PUT = "curl -sSf --cacert /var/lib/ca/ca.crt.pem -T /srv/client/web1.csr https://ca.example.net/api/csr/web1"
RENEWAL = [
    one for one in commands("operate.md") if "--renew" in one.line or "reset-failed ca-signerd.service" in one.line
]


@pytest.fixture(scope="module")
def expired(installed: Path) -> Iterator[Machine]:
    """A machine that served until its CA's certificate ended, and whose signer was then started in vain."""
    with booted(installed) as machine:
        machine.run(f"cp -a {installed}/* /; systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload")
        serve(machine)
        machine.run(f"{PYTHON} - <<'END'\n{EXPIRE}\nEND")
        # Whoever asks starts it, until the sockets are closed.
        machine.run("systemctl restart ca-signerd || for i in $(seq 20); do ca_admin status || sleep 0.1; done; true")
        assert machine.show("ca-signerd", "ActiveState") == "failed"
        yield machine


def test_the_documents_two_commands_bring_an_expired_authority_back(expired: Machine) -> None:
    assert len(RENEWAL) == 2
    before = expired.run("openssl x509 -in /var/lib/ca/ca.crt.pem -noout -pubkey -subject")
    expired.run("cp /root/ca-passphrase /root/new-passphrase; chmod 600 /root/new-passphrase")
    for command in RENEWAL:
        done = run_command(expired, command)
        assert done.status == 0, done.stdout
    assert expired.run("openssl x509 -in /var/lib/ca/ca.crt.pem -noout -pubkey -subject") == before
    assert expired.run("stat --format %U:%G:%a /var/lib/ca/ca.crt.pem") == "ca:ca:644"
    used = expired.run(f"{PYTHON} - <<'END'\n{CERTIFICATE_OF_LAST_START}\nEND")
    assert used == expired.run("openssl x509 -in /var/lib/ca/ca.crt.pem -outform der | sha256sum | cut -d ' ' -f 1")
    # nginx's own ended with the CA's.
    expired.run("systemctl start ca-renew-nginx.service")
    assert "BEGIN CERTIFICATE" in expired.run(PUT)
    expired.run("ca_admin verify")
