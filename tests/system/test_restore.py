"""ca_admin backup --all on one machine, ca_admin restore on another that has nothing but the package."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import CA_NAME, Machine, booted
from tests.system.serving import serve

# What the operator of the first machine has added to the package: rules for clients, one of whom proves itself by a
# key, hooks, code in the signer, a drop-in.
OPERATORS = """
cat >>/etc/ca/signerd.toml <<'END'

[client.nginx]
dns = ["ca.example.net"]

[client.web1]
dns = ["web1.example.net"]

[client.web2]
mac_key_file = "/etc/ca/mac-keys/web2"

[client.mallory]
END
install --owner root --group ca --mode 640 <(openssl rand -hex 32) /etc/ca/mac-keys/web2
mkdir /etc/ca/hooks/sapi_custom_ca /etc/ca/custom/sapi_custom_ca
cat >/etc/ca/hooks/sapi_custom_ca/api.py <<'END'
from frontend.hooks import CsrNotAuthedError, SigningHooksBase

class API_CSR_HOOKS_FACTORY(SigningHooksBase):
    def authorize(self, subject_alt_name_exts):
        if self.client_hash == "mallory":
            raise CsrNotAuthedError
END
cat >/etc/ca/custom/sapi_custom_ca/ca.py <<'END'
import secrets
def SERIAL_NUMBER_GENERATOR_CB():
    return 0x5EED5EED << 64 | secrets.randbits(64)
END
mkdir /etc/systemd/system/ca-frontend.service.d
cp /usr/share/doc/signerd/drop-ins/hooks-files.conf /etc/systemd/system/ca-frontend.service.d/
systemctl daemon-reload
systemctl restart ca-signerd ca-frontend
systemctl --quiet enable ca-renew-nginx.timer
"""
# The CA lives five days ago, so that its backup is as old: as the signer and ca_create_identity have the clock.
FIVE_DAYS_AGO = r"""
run='import time; now = time.time; time.time = lambda: now() - 5 * 86_400; from signerd.%s import main; main()'
mkdir -p /run/systemd/system/ca-signerd.service.d
cat >/run/systemd/system/ca-signerd.service.d/clock.conf <<END
[Service]
ExecStart=
ExecStart=/usr/lib/signerd/bin/python -c "$(printf "$run" __main__)"
END
cat >/usr/local/bin/ca_create_identity <<END
#!/bin/sh
exec /usr/lib/signerd/bin/python -c "$(printf "$run" commands.create_identity)" "\$@"
END
chmod 755 /usr/local/bin/ca_create_identity
systemctl daemon-reload
"""
CURL = "curl -sS --cacert /var/lib/ca/ca.crt.pem"
FINGERPRINT = "openssl x509 -in /var/lib/ca/ca.crt.pem -noout -fingerprint -sha256"
PLACES = "/etc/ca /etc/nginx /etc/systemd /etc/credstore.encrypted /var/lib/ca"


def answers(machine: Machine) -> dict[str, str]:
    """What clients get through nginx: web1 is allowed, web2 has no proof, hooks refuse mallory, stranger is unknown."""
    put = f"{CURL} -o /srv/answer -w '%{{http_code}}' -T /srv/client/web1.csr https://{CA_NAME}/api/csr"
    return {client: machine.run(f"{put}/{client}") for client in ("web1", "web2", "mallory", "stranger")}


ANSWERS = {"web1": "200", "web2": "403", "mallory": "403", "stranger": "403"}


def restoring(fingerprint: str, backup: str) -> str:
    return f"ca_admin restore --passphrase-file /root/ca-passphrase --fingerprint '{fingerprint}' {backup}"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that outlives the machines: where the backup is kept."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="module")
def fingerprint(package: Path, shelf: Path) -> str:
    """That of a CA whose machine is gone. On the shelf: its backup, its passphrase, and a client's CSR."""
    save = f"ca_admin backup --all --passphrase-file /root/ca-passphrase {shelf}/backup"
    with booted(package, shelf) as machine:
        machine.run(f"dpkg --install {package}/*.deb", seconds=120)
        machine.run(FIVE_DAYS_AGO)
        serve(machine)
        machine.run(OPERATORS)
        assert answers(machine) == ANSWERS
        machine.run("ca_admin revoke --yes $(ca_admin list --client web1 | tail -n 1 | cut -d ' ' -f 1)")
        machine.run(save)
        assert "exists, and was left as it is" in machine.attempt(save).stderr
        machine.run(f"cp -r /root/ca-passphrase /srv/client {shelf}/")
        return machine.run(FINGERPRINT)


@contextlib.contextmanager
def bare(package: Path, shelf: Path) -> Iterator[Machine]:
    """A machine on which the package was just installed, and the passphrase was brought."""
    with booted(package, shelf) as machine:
        machine.run(f"dpkg --install {package}/*.deb; rm -f /etc/nginx/sites-enabled/*", seconds=120)
        machine.run(f"echo 127.0.0.1 {CA_NAME} >>/etc/hosts; cp -r {shelf}/client /srv/")
        machine.run(f"cp {shelf}/ca-passphrase /root/; chmod 600 /root/ca-passphrase")
        yield machine


@pytest.fixture(scope="module")
def restored(package: Path, shelf: Path, fingerprint: str) -> Iterator[tuple[Machine, str]]:
    """A machine that was restored, and what that printed; what was to be started then is started."""
    with bare(package, shelf) as machine:
        printed = machine.run(restoring(fingerprint, f"{shelf}/backup"))
        [start] = [line for line in printed.splitlines() if line.startswith("  systemctl restart ")]
        machine.run(start)
        assert "the clock says" in machine.run("ca_admin status")  # five days, that nobody vouches for
        [accept] = [line for line in printed.splitlines() if line.startswith("  ca_admin accept ")]
        machine.run(accept)
        yield machine, printed


def test_a_bare_machine_becomes_the_authority_with_every_rule_of_it(
    restored: tuple[Machine, str], fingerprint: str
) -> None:
    machine, printed = restored
    assert "restored /etc/ca/mac-keys/web2\n" in printed
    machine.run("ca_admin verify && ca_admin doctor")
    assert machine.run(FINGERPRINT) == fingerprint
    assert answers(machine) == ANSWERS
    assert '"serial":"5eed5eed' in machine.run(f"{CURL} -T /srv/client/web1.csr https://{CA_NAME}/api/csr/web1")
    assert machine.run("ca_admin list --state revoked | tail -n +2 | wc -l") == "1"


def test_owners_modes_and_enabled_units_are_as_they_were(restored: tuple[Machine, str]) -> None:
    machine, _ = restored
    modes = "stat --format '%n %U:%G %a' /etc/ca/mac-keys/web2 /etc/ca/signerd.toml /etc/ca/custom /var/lib/ca"
    assert machine.run(f"{modes} /var/lib/ca/ca.private_key.pem /etc/nginx/signerd/tls.key").splitlines() == [
        "/etc/ca/mac-keys/web2 root:ca 640",
        "/etc/ca/signerd.toml root:ca 640",
        "/etc/ca/custom root:ca 750",
        "/var/lib/ca ca:ca 700",
        "/var/lib/ca/ca.private_key.pem ca:ca 600",
        "/etc/nginx/signerd/tls.key root:root 600",
    ]
    machine.run("test -d /var/lib/ca-frontend")  # by the drop-in
    for unit in ("ca-signerd.service", "ca-frontend.service", "ca-renew-nginx.timer"):
        assert machine.run(f"systemctl is-enabled {unit}") == "enabled"


def test_a_ca_that_runs_or_is_there_is_not_replaced_unasked(
    restored: tuple[Machine, str], shelf: Path, fingerprint: str
) -> None:
    machine, _ = restored
    again = restoring(fingerprint, f"{shelf}/backup")
    stop = "systemctl stop ca-sign.socket ca-admin.socket ca-signerd.service"
    assert f"ca-sign.socket is active: {stop}" in machine.attempt(again).stderr
    machine.run(stop)
    assert "there is a CA on this machine, and it was left as it is" in machine.attempt(again).stderr
    done = json.loads(machine.run(f"{again} --yes --json"))
    assert list(done) == ["time", "placed", "aside", "enabled"]
    assert any(path.startswith("/var/lib/ca/ledger.db.2") for path in done["aside"])
    machine.run("systemctl restart ca-signerd; ca_admin accept; ca_admin verify")
    assert answers(machine) == ANSWERS


def test_a_passphrase_in_a_plain_file_is_handed_over_as_one(
    restored: tuple[Machine, str], shelf: Path, fingerprint: str
) -> None:
    machine, _ = restored
    drop_in = "/etc/systemd/system/ca-signerd.service.d/passphrase.conf"
    machine.run(
        f"""
        install -D -m 644 /usr/share/doc/signerd/drop-ins/plain-passphrase.conf {drop_in}
        install -D -m 600 /root/ca-passphrase /etc/credstore/ca_passphrase
        rm /etc/credstore.encrypted/ca_passphrase
        systemctl daemon-reload; systemctl restart ca-signerd
        ca_admin backup --all --passphrase-file /root/ca-passphrase {shelf}/plain
        systemctl stop ca-sign.socket ca-admin.socket ca-signerd.service
        rm -r /etc/credstore {drop_in}
        {restoring(fingerprint, f"{shelf}/plain")} --yes
        systemctl restart ca-signerd
        """
    )
    assert machine.run("stat --format '%U %a' /etc/credstore/ca_passphrase") == "root 600"
    machine.run("test ! -e /etc/credstore.encrypted/ca_passphrase")
    assert answers(machine) == ANSWERS


def test_only_root_saves_or_restores_all(restored: tuple[Machine, str], shelf: Path, fingerprint: str) -> None:
    machine, _ = restored
    as_operator = "setpriv --reuid daemon --regid daemon --groups $(getent group ca-admin | cut -d : -f 3)"
    for command in (f"ca_admin backup --all {shelf}/theirs", restoring(fingerprint, f"{shelf}/backup")):
        done = machine.attempt(f"{as_operator} {command}")
        assert (done.status, "only root can" in done.stderr) == (1, True)
    assert not (shelf / "theirs").exists()


def test_a_backup_that_somebody_changed_leaves_the_machine_as_it_is(
    package: Path, shelf: Path, fingerprint: str
) -> None:
    with bare(package, shelf) as machine:
        look = f"find {PLACES} ! -type d -exec sha256sum {{}} +; find {PLACES} -printf '%p %m %u %g\\n'"
        before = machine.run(look)
        hooks = "/root/backup/files/etc/ca/hooks/sapi_custom_ca"
        for change, reason in (
            (f"echo 'import os' >>{hooks}/api.py", "api.py is not what it was when the backup was made"),
            (f"touch {hooks}/__init__.py", "__init__.py was added to the backup"),
            (f"mv {hooks}/api.py /root/; ln -s /root/api.py {hooks}/api.py", "api.py is no regular file"),
            ("sed -i 's/0600/0666/' /root/backup/manifest.json", "is not signed by this CA's ledger key"),
        ):
            machine.run(f"rm -rf /root/backup; cp -r {shelf}/backup /root/; {change}")
            done = machine.attempt(restoring(fingerprint, "/root/backup"))
            assert (done.status, done.stdout) == (1, "")
            assert reason in done.stderr
            assert done.stderr.endswith("; nothing was placed\n")
        assert "another fingerprint" in machine.attempt(restoring("00" * 32, f"{shelf}/backup")).stderr
        assert machine.run(look) == before
