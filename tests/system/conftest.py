"""Fixtures of the system tests: signerd, installed as for production, on a machine booted by a real systemd."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import ROOT, Machine, booted
from tests.system.serving import serve

_NEEDED = {"systemd": "/lib/systemd/systemd", "dbus": "/usr/bin/dbus-daemon", "nginx": "/usr/sbin/nginx"}


def _reason_not_to_run() -> str | None:
    if os.geteuid() != 0:
        return "a machine can be booted by root alone"
    missing = [package for package, path in _NEEDED.items() if not Path(path).exists()]
    return f"these packages are missing: {', '.join(missing)}" if missing else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes ten seconds or more, and is run by `make system-test` alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("SYSTEM_TESTS") == "all":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


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


@pytest.fixture(scope="session")
def package(bootable: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the Debian package in it."""
    directory = tmp_path_factory.mktemp("package")
    subprocess.run(["make", "deb", f"DIST={directory}"], cwd=ROOT, check=True)
    assert len(list(directory.iterdir())) == 1
    return directory


@pytest.fixture(scope="session")
def machine(installed: Path) -> Iterator[Machine]:
    """A machine that serves: identity, passphrase, both units, nginx, and a client's CSR in /srv/client.

    All tests share it: each leaves it as it found it.
    """
    with booted(installed) as machine:
        machine.run(f"cp -a {installed}/* /")
        machine.run("systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload")
        serve(machine)
        yield machine
