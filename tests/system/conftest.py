"""Fixtures of the system tests: signerd, installed as for production, on a machine booted by a real systemd."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import CA_NAME, ROOT, Machine, booted

_NEEDED = {"systemd": "/lib/systemd/systemd", "dbus": "/usr/bin/dbus-daemon", "nginx": "/usr/sbin/nginx"}

# As docs/install.md does it, for tests that start where it ends.
_SET_UP = f"""
umask 022
systemd-sysusers
systemd-tmpfiles --create
systemctl daemon-reload
echo 127.0.0.1 {CA_NAME} >>/etc/hosts
(umask 077; openssl rand -base64 33 >/root/ca-passphrase)
ca_create_identity --passphrase-file /root/ca-passphrase -f CN "Example CA"
systemd-creds encrypt --name=ca_passphrase /root/ca-passphrase /etc/credstore.encrypted/ca_passphrase
# Tests ask more often than the settings that are installed allow.
sed -i -E 's/^(per_client|total|freeze_above) = .*/\\1 = "1000000\\/hour"/' /etc/ca/signerd.toml
systemctl enable --now ca-signerd.service ca-frontend.service
"""

_SET_UP_NGINX = f"""
mkdir -p /etc/nginx/signerd
cd /etc/nginx/signerd
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -subj /CN={CA_NAME} 2>/dev/null |
  curl -sSf --unix-socket /run/ca-frontend/http.sock -H 'Accept: application/pem-certificate-chain' \
    -o tls.pem -T - http://localhost/api/csr/nginx
rm -f /etc/nginx/sites-enabled/*
ln -s ../sites-available/signerd /etc/nginx/sites-enabled/
sed -i 's|rate=10r/s|rate=10000r/s|' /etc/nginx/sites-available/signerd
systemctl start nginx
"""

_CLIENT = """
mkdir -p /srv/client
cd /srv/client
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout web1.key -out web1.csr \
  -subj /CN=web1.example.net 2>/dev/null
"""


def _reason_not_to_run() -> str | None:
    if os.geteuid() != 0:
        return "a machine can be booted by root alone"
    missing = [package for package, path in _NEEDED.items() if not Path(path).exists()]
    return f"these packages are missing: {', '.join(missing)}" if missing else None


@pytest.fixture(scope="session")
def bootable() -> None:
    """Skips what needs a machine where none can be booted; in CI that is a failure (tests/conftest.py)."""
    if reason := _reason_not_to_run():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def installed(bootable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tree that `make install DESTDIR=…` makes."""
    tree = tmp_path_factory.mktemp("installed")
    subprocess.run(["make", "install", f"DESTDIR={tree}"], cwd=ROOT, check=True)
    yield tree
    shutil.rmtree(tree)


@pytest.fixture(scope="module")
def bare_machine(bootable: None) -> Iterator[Machine]:
    """A machine that has never seen signerd."""
    with booted() as machine:
        machine.run("! command -v ca_signerd && ! test -e /etc/ca && ! getent passwd ca ca-web")
        yield machine


@pytest.fixture(scope="module")
def machine(installed: Path) -> Iterator[Machine]:
    """A machine that serves: identity, passphrase, both units, nginx, and a client's CSR in /srv/client."""
    with booted(installed) as machine:
        machine.run(f"cp -a {installed}/* /")
        machine.run(_SET_UP)
        machine.run(_SET_UP_NGINX)
        machine.run(_CLIENT)
        yield machine
