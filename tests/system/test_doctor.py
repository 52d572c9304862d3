"""ca_admin doctor, on a machine that is well, and on one with each thing wrong in turn."""

import contextlib
import json
from collections.abc import Collection, Iterator
from typing import NamedTuple

import pytest

from tests.system.machine import PYTHON, Machine

DROP_INS = "/usr/local/share/doc/signerd/drop-ins"
DOCTOR = "ca_admin doctor"

CREDENTIAL = "/etc/credstore.encrypted/ca_passphrase"
DROP_IN = "/run/systemd/system/ca-signerd.service.d"

# As docs/clients.md gives a client its key.
MAC_CLIENT = (
    "(umask 077; openssl rand -hex 32 >/etc/ca/mac-keys/web1); chown ca: /etc/ca/mac-keys/web1; "
    "printf '[client.web1]\\nmac_key_file = \"/etc/ca/mac-keys/web1\"\\n' >>/etc/ca/signerd.toml"
)
NO_MAC_CLIENT = "rm /etc/ca/mac-keys/web1; sed -i '/^\\[client.web1/,$d' /etc/ca/signerd.toml"


class Wrong(NamedTuple):
    """A thing that is wrong: how to bring it about and undo it, and what has to be found."""

    do: str
    undo: str
    check: str
    level: str
    words: str


# What can be wrong at the same time is, for each look at a machine takes a second.
WRONGS = {
    "a group too many": Wrong(
        "gpasswd -a ca-web ca", "gpasswd -d ca-web ca", "users", "problem", "ca-web is in the group ca"
    ),
    "a key that all can read": Wrong(
        "chmod 644 /var/lib/ca/ca.private_key.pem",
        "chmod 600 /var/lib/ca/ca.private_key.pem",
        "state",
        "problem",
        "ca.private_key.pem can be read by others",
    ),
    "a file of another user": Wrong(
        "chown ca-web /var/lib/ca/ca.csr.pem",
        "chown ca /var/lib/ca/ca.csr.pem",
        "state",
        "problem",
        "ca.csr.pem belongs to ca-web, and the signer runs as ca",
    ),
    "a ledger of root's": Wrong(
        "chown root /var/lib/ca/ledger.db",
        "chown ca /var/lib/ca/ledger.db",
        "state",
        "problem",
        "ledger.db belongs to root, and the signer runs as ca",
    ),
    "settings that others can write": Wrong(
        "chown ca /etc/ca/signerd.toml",
        "chown root /etc/ca/signerd.toml",
        "settings",
        "problem",
        "/etc/ca/signerd.toml belongs to ca: who can write it decides",
    ),
    "frontend's settings that it doesn't take": Wrong(
        "echo thread=1 >>/etc/ca/frontend.toml",
        "sed -i '/^thread=1/d' /etc/ca/frontend.toml",
        "frontend",
        "problem",
        "unknown key thread",
    ),
    "hooks that all can write": Wrong(
        "chmod 777 /etc/ca/hooks",
        "chmod 755 /etc/ca/hooks",
        "code",
        "problem",
        "/etc/ca/hooks can be written by others",
    ),
    "code of another user": Wrong(
        "chown ca-web /opt/signerd/lib/python3*/site-packages/signerd",
        "chown root /opt/signerd/lib/python3*/site-packages/signerd",
        "code",
        "problem",
        "site-packages/signerd belongs to ca-web",
    ),
    "a socket for all": Wrong(
        "chmod 666 /run/ca/sign.sock", "chmod 660 /run/ca/sign.sock", "sockets", "problem", "mode 666"
    ),
    "a unit that is not enabled": Wrong(
        "systemctl disable ca-signerd.service",
        "systemctl enable ca-signerd.service",
        "units",
        "warning",
        "not started at boot",
    ),
    "a unit that was stopped": Wrong(
        "systemctl stop ca-frontend.socket ca-frontend.service",
        "systemctl start ca-frontend.service",
        "units",
        "problem",
        "ca-frontend.service is inactive",
    ),
    "no credential": Wrong(
        f"mv {CREDENTIAL} /root/",
        f"mv /root/ca_passphrase {CREDENTIAL}",
        "passphrase",
        "problem",
        f"there is no {CREDENTIAL}",
    ),
    "no certificate": Wrong(
        "mv /var/lib/ca/ca.crt.pem /root/",
        "mv /root/ca.crt.pem /var/lib/ca/",
        "identity",
        "problem",
        "holds no ca.crt.pem",
    ),
    "a CA that is frozen": Wrong(
        "ca_admin freeze --why 'to be seen'", "ca_admin thaw", "signer", "warning", "issuance is frozen: to be seen"
    ),
    "no nginx": Wrong("systemctl stop nginx", "systemctl start nginx", "nginx", "problem", "can't be fetched"),
    "a sandbox that was opened": Wrong(
        f"mkdir -p {DROP_IN}; printf '[Service]\\nPrivateNetwork=no\\n' >{DROP_IN}/open.conf; systemctl daemon-reload",
        f"rm -r {DROP_IN}; systemctl daemon-reload",
        "sandbox",
        "problem",
        "ca-signerd.service has a network",
    ),
}

# These hide each other.
WRONGS_ALONE = {
    "an unknown setting": Wrong(
        "echo x=1 >>/etc/ca/signerd.toml",
        "sed -i '/^x=1/d' /etc/ca/signerd.toml",
        "settings",
        "problem",
        "unknown key",
    ),
    "frontend's settings that it can't read": Wrong(
        "chmod 600 /etc/ca/frontend.toml", "chmod 644 /etc/ca/frontend.toml", "frontend", "problem", "Permission denied"
    ),
    "a client's key that root alone can read": Wrong(
        f"{MAC_CLIENT}; chown root: /etc/ca/mac-keys/web1",
        NO_MAC_CLIENT,
        "settings",
        "problem",
        "/etc/ca/mac-keys/web1: Permission denied (read as ca, whom the signer runs as)",
    ),
    "a key of another CA": Wrong(
        "cp -a /var/lib/ca/ca.private_key.pem /root/; ca_create_identity --path /root/other -f CN other "
        "--passphrase-file /root/ca-passphrase; cp /root/other/ca.private_key.pem /var/lib/ca/",
        "rm -r /root/other; mv /root/ca.private_key.pem /var/lib/ca/",
        "identity",
        "problem",
        "/var/lib/ca/ca.private_key.pem doesn't belong to /var/lib/ca/ca.crt.pem: the keys differ",
    ),
    "nginx's certificate about to end": Wrong(
        "cp -a /etc/nginx/signerd/tls.pem /root/; openssl req -new -key /etc/nginx/signerd/tls.key -subj "
        "/CN=ca.example.net | ca_sign_certificate --client nginx -o /etc/nginx/signerd/tls.pem 9d; "
        "systemctl reload nginx; sleep 1",
        "mv /root/tls.pem /etc/nginx/signerd/; systemctl reload nginx; sleep 1",
        "tls",
        "warning",
        "in 8 days",
    ),
    "a passphrase in the unit's environment": Wrong(
        f"mv {CREDENTIAL} /root/; mkdir -p {DROP_IN}; (umask 077; echo CA_PASSPHRASE=$(cat /root/ca-passphrase) "
        f">/root/ca.env); printf '[Service]\\nEnvironmentFile=/root/ca.env\\n' >{DROP_IN}/env.conf; "
        "systemctl daemon-reload; systemctl restart ca-signerd",
        f"mv /root/ca_passphrase {CREDENTIAL}; rm -r {DROP_IN} /root/ca.env; systemctl daemon-reload; "
        "systemctl restart ca-signerd",
        "passphrase",
        "warning",
        "CA_PASSPHRASE is in the environment of ca-signerd.service",
    ),
    "a passphrase for another key": Wrong(
        f"cp {CREDENTIAL} /root/; echo other | systemd-creds encrypt --name=ca_passphrase - {CREDENTIAL}",
        f"mv /root/ca_passphrase {CREDENTIAL}",
        "passphrase",
        "problem",
        "doesn't open",
    ),
    "a credential that is damaged": Wrong(
        f"cp {CREDENTIAL} /root/; echo damaged >{CREDENTIAL}",
        f"mv /root/ca_passphrase {CREDENTIAL}",
        "passphrase",
        "problem",
        "can't be decrypted",
    ),
    "a passphrase in the clear": Wrong(
        "install -D -m 600 /root/ca-passphrase /etc/credstore/ca_passphrase; "
        f"install -D -m 644 {DROP_INS}/plain-passphrase.conf {DROP_IN}/passphrase.conf; systemctl daemon-reload",
        f"rm -r /etc/credstore {DROP_IN}; systemctl daemon-reload",
        "passphrase",
        "warning",
        "it lies on the disk in the clear: /etc/credstore/ca_passphrase",
    ),
    "a full disk": Wrong(
        "mount -t tmpfs -o size=1m tmpfs /var/lib/ca", "umount /var/lib/ca", "disk", "problem", "MiB are free"
    ),
}


def findings(machine: Machine) -> tuple[int, list[dict[str, str]]]:
    done = machine.attempt(f"{DOCTOR} --json")
    assert "Traceback" not in done.stderr, done.stderr
    return done.status, json.loads(done.stdout)


def bad(found: list[dict[str, str]]) -> list[dict[str, str]]:
    # Nothing keeps the clock of this machine.
    return [one for one in found if one["level"] != "ok" and one["check"] != "clock"]


def test_a_machine_that_is_well_has_no_finding(machine: Machine) -> None:
    status, found = findings(machine)
    assert bad(found) == []
    assert status == 0
    checks = {one["check"] for one in found}
    assert checks >= {
        "users",
        "state",
        "units",
        "sockets",
        "sandbox",
        "signer",
        "identity",
        "passphrase",
        "clock",
        "disk",
    }
    assert checks >= {"code", "memory", "nginx", "tls", "http", "frontend", "settings"}


def test_what_the_documents_make_for_a_client_is_well_and_passes_the_check_before_a_reload(machine: Machine) -> None:
    machine.run(MAC_CLIENT)
    try:
        shown = machine.run("ca_signerd --check-config && ca_admin reload")
        assert "read as ca, whom the signer runs as" in shown
        assert bad(findings(machine)[1]) == []
    finally:
        machine.run(NO_MAC_CLIENT)
        machine.run("ca_admin reload")


def test_before_the_first_start_it_says_what_to_start_and_no_more(machine: Machine) -> None:
    machine.run("systemctl disable --now ca-signerd ca-frontend ca-{sign,admin,frontend}.socket 2>&1")
    try:
        found = bad(findings(machine)[1])
        said = {one["detail"]: one["advice"] for one in found if one["check"] in {"units", "sockets"}}
    finally:
        machine.run("systemctl enable --now ca-signerd ca-frontend 2>&1")
    assert said == {
        f"{unit}.service is inactive, and not started at boot either": f"systemctl enable --now {unit}.service"
        for unit in ("ca-signerd", "ca-frontend")
    }


@contextlib.contextmanager
def sick(machine: Machine, wrongs: Collection[Wrong]) -> Iterator[None]:
    """The machine with all these things wrong, for as long as the block lasts."""
    for wrong in wrongs:
        machine.run(wrong.do)
    try:
        yield
    finally:
        for wrong in wrongs:
            machine.run(wrong.undo)


@pytest.fixture(scope="module")
def found_in_the_sick(machine: Machine) -> tuple[int, list[dict[str, str]]]:
    with sick(machine, WRONGS.values()):
        return findings(machine)


def assert_found(wrong: Wrong, found: list[dict[str, str]]) -> None:
    named = [one for one in bad(found) if one["check"] == wrong.check and wrong.words in one["detail"]]
    assert len(named) == 1, found
    assert named[0]["level"] == wrong.level
    assert named[0]["advice"]


@pytest.mark.parametrize("name", WRONGS)
def test_what_is_wrong_is_found_with_what_to_do(found_in_the_sick: tuple[int, list[dict[str, str]]], name: str) -> None:
    status, found = found_in_the_sick
    assert_found(WRONGS[name], found)
    assert status == 1


@pytest.mark.parametrize("name", WRONGS_ALONE)
def test_what_hides_other_things_is_found_with_what_to_do(machine: Machine, name: str) -> None:
    wrong = WRONGS_ALONE[name]
    with sick(machine, [wrong]):
        status, found = findings(machine)
    assert_found(wrong, found)
    assert status == (1 if any(one["level"] == "problem" for one in found) else 0)


def test_a_ca_that_expires_is_found_in_time(machine: Machine) -> None:
    script = (
        "import json, time; from pathlib import Path; from signerd.commands.doctor_ca import check_identity; "
        "later = int(time.time()) + 9 * 365 * 86400; "
        "print(json.dumps([tuple(one) for one in check_identity(Path('/var/lib/ca'), 400 * 86400, later)]))"
    )
    found = json.loads(machine.run(f'{PYTHON} -c "{script}"'))
    assert [(one[0], one[1]) for one in found] == [("identity", "warning")]
    assert "less than a certificate may live" in found[0][2]


def test_people_get_a_line_for_each_finding_and_no_secret(machine: Machine) -> None:
    lines = machine.run(f"{DOCTOR} | tee /srv/doctor").splitlines()
    assert "ok       passphrase: the one in /etc/credstore.encrypted/ca_passphrase opens the key" in lines
    assert all(line.startswith(("ok  ", "warning  ", "unknown  ", "         -> ")) for line in lines)
    assert machine.run("grep --count --fixed-strings --file /root/ca-passphrase /srv/doctor || :") == "0"


def test_without_root_it_says_what_it_could_not_see_and_fails_in_no_other_way(machine: Machine) -> None:
    done = machine.attempt(f"setpriv --reuid nobody --regid nogroup --clear-groups {DOCTOR} --json")
    assert "Traceback" not in done.stderr, done.stderr
    levels = {(one["check"], one["level"]) for one in json.loads(done.stdout)}
    assert ("root", "unknown") in levels
    assert ("units", "ok") in levels
