"""Starts that can't succeed: clear in `systemctl status`, no loop, and all is well once the cause is gone."""

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine

STARTS_MAX = 6  # StartLimitBurst= of both units

PUT = (
    "curl -s -m 40 -o /srv/answer -w '%{http_code}' --cacert /var/lib/ca/ca.crt.pem -T /srv/client/web1.csr "
    "https://ca.example.net/api/csr/web1"
)


@pytest.fixture(autouse=True)
def _well_again(machine: Machine) -> Iterator[None]:
    """Each test leaves a machine that serves, with its limits unspent."""
    yield
    machine.run("systemctl reset-failed 'ca-*'; systemctl start ca-signerd ca-frontend")
    assert machine.run(PUT) == "200"


def fail_to_start(machine: Machine, unit: str) -> str:
    """Restarts a unit that can't start, and asks something of it; returns what `systemctl status` then says."""
    machine.run("journalctl --sync; journalctl --lines 1 --show-cursor | sed -n 's/^-- cursor: //p' >/srv/cursor")
    machine.run("systemctl reset-failed 'ca-*'")
    assert machine.attempt(f"systemctl restart {unit}").status != 0
    # What waits at its socket tries it again, until the limit closes the socket; then nothing waits any more.
    assert machine.run(PUT) == "503"
    assert machine.show(unit, "ActiveState") == "failed"
    assert machine.run(PUT) == "503"
    machine.run("journalctl --sync")
    journal = f'journalctl --unit {unit} --output cat --after-cursor "$(cat /srv/cursor)"'
    starts = machine.run(f"{journal} --grep '^Starting {unit}' | wc -l")
    assert 1 <= int(starts) <= STARTS_MAX
    return machine.attempt(f"systemctl status --no-pager --full --lines 20 {unit}").stdout


def test_without_a_credential_the_signer_says_that_there_is_no_passphrase(machine: Machine) -> None:
    machine.run("mv /etc/credstore.encrypted/ca_passphrase /root/credential")
    try:
        status = fail_to_start(machine, "ca-signerd.service")
        assert "ca_signerd: no passphrase for the CA's key: give it as the systemd credential ca_passphrase" in status
        assert "status=78/CONFIG" in status
    finally:
        machine.run("mv /root/credential /etc/credstore.encrypted/ca_passphrase")


def test_with_a_wrong_passphrase_the_signer_says_so(machine: Machine) -> None:
    machine.run("cp /etc/credstore.encrypted/ca_passphrase /root/credential")
    machine.run("echo wrong | systemd-creds encrypt --name=ca_passphrase - /etc/credstore.encrypted/ca_passphrase")
    try:
        status = fail_to_start(machine, "ca-signerd.service")
        assert "ca.private_key.pem can't be read: the passphrase is wrong, or the file is damaged" in status
        assert "status=78/CONFIG" in status
        assert "Traceback" not in status
    finally:
        machine.run("cp /root/credential /etc/credstore.encrypted/ca_passphrase")


def test_a_credential_of_another_machine_is_named_as_what_is_wrong(machine: Machine) -> None:
    machine.run("cp /etc/credstore.encrypted/ca_passphrase /root/credential")
    machine.run("cp -p /var/lib/systemd/credential.secret /root/; rm /var/lib/systemd/credential.secret")
    machine.run("echo some | systemd-creds encrypt --name=ca_passphrase - /etc/credstore.encrypted/ca_passphrase")
    machine.run("cp -p /root/credential.secret /var/lib/systemd/credential.secret")
    try:
        status = fail_to_start(machine, "ca-signerd.service")
        assert "Failed to set up credentials" in status
        assert "status=243/CREDENTIALS" in status
    finally:
        machine.run("cp /root/credential /etc/credstore.encrypted/ca_passphrase")


@pytest.fixture
def small_disk(machine: Machine) -> Iterator[Machine]:
    """The machine, with a state directory of 64 MB that holds the identity and the ledger as they are."""
    machine.run(
        """
        systemctl stop ca-sign.socket ca-admin.socket ca-signerd.service
        rm -f /var/lib/ca/ledger.db.ballast
        cp -a /var/lib/ca /root/state
        mount -t tmpfs -o size=64m,mode=700,uid=$(id -u ca),gid=$(id -g ca) tmpfs /var/lib/ca
        cp -a /root/state/. /var/lib/ca/
        systemctl start ca-signerd
        """
    )
    yield machine
    machine.run(
        """
        systemctl stop ca-sign.socket ca-admin.socket ca-signerd.service
        umount /var/lib/ca
        rm -r /root/state
        """
    )


FILL = "dd if=/dev/zero of=/var/lib/ca/filler bs=1k count=70000 2>/dev/null || :"


def test_with_the_disk_full_and_no_ballast_the_signer_says_that_it_is_the_ledger_and_the_frontend_starts(
    small_disk: Machine,
) -> None:
    small_disk.run("systemctl stop ca-sign.socket ca-admin.socket ca-signerd.service")  # which gives room back
    small_disk.run("rm /var/lib/ca/ledger.db.ballast")
    small_disk.run(FILL)
    status = fail_to_start(small_disk, "ca-signerd.service")
    assert "ca_signerd: /var/lib/ca/ledger.db: " in status
    assert "status=78/CONFIG" in status
    assert "Traceback" not in status
    small_disk.run("systemctl restart ca-frontend")
    assert small_disk.show("ca-frontend.service", "ActiveState") == "active"
    small_disk.run("rm /var/lib/ca/filler; systemctl reset-failed 'ca-*'; systemctl restart ca-signerd")
    assert small_disk.run(PUT) == "200"


def test_on_a_disk_that_fills_up_issuance_alone_waits_for_room_and_needs_no_restart(small_disk: Machine) -> None:
    small_disk.run(FILL)
    assert small_disk.run(PUT) == "503"
    assert "disk is nearly full" in small_disk.run("cat /srv/answer")
    assert small_disk.show("ca-signerd.service", "ActiveState") == "active"
    assert small_disk.run("curl -s -o /dev/null -w '%{http_code}' http://ca.example.net/ca.der") == "200"
    small_disk.run("systemctl stop ca-signerd.service")
    small_disk.run(FILL)
    small_disk.run("systemctl restart ca-signerd.service && ca_admin freeze && ca_admin thaw")
    assert small_disk.run(PUT) == "503"
    small_disk.run("rm /var/lib/ca/filler")
    assert small_disk.run(PUT) == "200"


def test_a_frontend_with_bad_settings_says_which(machine: Machine) -> None:
    machine.run("cp /etc/ca/frontend.toml /root/; echo 'worker = 2' >>/etc/ca/frontend.toml")
    try:
        status = fail_to_start(machine, "ca-frontend.service")
        assert "ca_frontend: /etc/ca/frontend.toml: unknown key worker" in status
        assert "application/problem+json" in machine.run(f"{PUT} -D /dev/stdout")
    finally:
        machine.run("cp /root/frontend.toml /etc/ca/")


def test_a_signer_with_a_bad_policy_says_which_key(machine: Machine) -> None:
    machine.run(
        "cp -p /etc/ca/signerd.toml /root/; sed -i 's/^lifetime = .*/lifetime = \"900d\"/' /etc/ca/signerd.toml"
    )
    try:
        status = fail_to_start(machine, "ca-signerd.service")
        assert "ca_signerd: /etc/ca/signerd.toml: profile.server.lifetime: 900d" in status
    finally:
        machine.run("cp -p /root/signerd.toml /etc/ca/")
