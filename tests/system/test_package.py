"""The Debian package: what installing, upgrading and removing it does, beyond what docs/install.md shows."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import ROOT, Machine, booted
from tests.system.serving import serve

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def packaged(package: Path) -> Iterator[Machine]:
    """A machine on which the package was just installed."""
    with booted(package) as machine:
        machine.run(f"dpkg --install {package}/*.deb")
        yield machine


def test_installing_it_starts_nothing_and_makes_no_secret(packaged: Machine) -> None:
    assert packaged.run("systemctl list-units --plain --no-legend 'ca-*'") == ""
    directories = "/var/lib/ca /etc/credstore.encrypted /etc/ca/mac-keys /etc/nginx/signerd"
    assert packaged.run(f"find {directories} -mindepth 1") == ""


def test_an_upgrade_keeps_the_state_and_loses_no_request(packaged: Machine, package: Path) -> None:
    serve(packaged)
    packaged.run("sha256sum /var/lib/ca/*.pem /etc/ca/*.toml /etc/nginx/sites-available/signerd >/root/sums")
    before = [packaged.show(unit, "MainPID") for unit in ("ca-signerd", "ca-frontend")]
    loaded = packaged.run(
        f"""
        /usr/lib/signerd/bin/python {ROOT}/tests/system/load.py 20 20 /srv/client/web1.csr >/srv/load &
        dpkg --install {package}/*.deb >/srv/upgrade
        systemctl is-active ca-signerd ca-frontend >&2
        wait $!
        cat /srv/load
        """
    )
    assert json.loads(loaded)["lost"] == []
    packaged.run("sha256sum --check --quiet /root/sums")
    assert set(before).isdisjoint(packaged.show(unit, "MainPID") for unit in ("ca-signerd", "ca-frontend"))
    packaged.run("ca_admin verify")


def test_a_removal_stops_all_and_a_purge_leaves_the_authority(packaged: Machine) -> None:
    packaged.run("dpkg --remove signerd")
    assert packaged.run("systemctl list-units --plain --no-legend 'ca-*'") == ""
    packaged.run("test ! -e /usr/lib/signerd; test -e /etc/ca/signerd.toml")
    packaged.run("dpkg --purge signerd")
    assert packaged.run("find /etc/ca /etc/systemd -name '*ca-*' -o -path '/etc/ca' 2>/dev/null || :") == ""
    for file in ("ca.private_key.pem", "ca.crt.pem", "ledger.db"):
        packaged.run(f"test -s /var/lib/ca/{file}")
    packaged.run("test -s /etc/credstore.encrypted/ca_passphrase; id ca; id ca-web")
    # nginx goes on for its other sites, and can be started again.
    packaged.run("test ! -L /etc/nginx/sites-enabled/signerd; systemctl is-active nginx; systemctl restart nginx")


def test_lintian_finds_no_error_in_it(package: Path) -> None:
    command = ["lintian", "--fail-on", "error", "--allow-root", *map(str, package.glob("*.deb"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
