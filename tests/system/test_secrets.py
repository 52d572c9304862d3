"""The wall: what neither the frontend nor another user can get at, and what even root finds nowhere."""

import json
from collections.abc import Iterator

import pytest

from tests.system.machine import PYTHON, ROOT, Machine

ATTACK = ROOT / "tests/system/attack.py"
SEARCH = ROOT / "tests/system/search.py"
SECRETS = "/root/secrets.json"

# What is secret, in each form that a process might hold it in: as it stands in the file, as OpenSSL writes
# numbers (big-endian), and as it keeps them (little-endian words).
FIND_SECRETS = f"""
import json
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_pem_private_key
passphrase = Path("/root/ca-passphrase").read_bytes().strip()
file = Path("/var/lib/ca/ca.private_key.pem").read_bytes()
scalar = load_pem_private_key(file, passphrase).private_numbers().private_value.to_bytes(32, "big")
secrets = {{"passphrase": passphrase, "file": file.splitlines()[2], "big": scalar, "little": scalar[::-1]}}
Path("{SECRETS}").write_text(json.dumps({{name: secret.hex() for name, secret in secrets.items()}}))
"""


@pytest.fixture(scope="module")
def victim(machine: Machine) -> Machine:
    """The machine, with the attacker's knowledge of the signer's pid, and a list of the secrets for root."""
    machine.run("systemctl show --value --property MainPID ca-signerd >/srv/signer.pid")
    machine.run(f"umask 077; {PYTHON} - <<'END'\n{FIND_SECRETS}\nEND")
    return machine


def attack_as(machine: Machine, user: str) -> dict[str, str | None]:
    """What became of each attack by a user's process, outside of every sandbox."""
    command = f"setpriv --reuid {user} --regid $(id -g {user}) --init-groups {PYTHON} {ATTACK}"
    found: dict[str, str | None] = json.loads(machine.run(f"{command} $(cat /srv/signer.pid)"))
    return found


def succeeded(outcomes: dict[str, str | None]) -> list[str]:
    assert len(outcomes) > 10
    return [name for name, why_not in outcomes.items() if why_not is None]


def test_every_attack_works_for_root(victim: Machine) -> None:
    # Else their failing for others would show nothing.
    assert [why_not for why_not in attack_as(victim, "root").values() if why_not] == []


def test_the_frontends_user_reaches_the_two_sockets_and_nothing_else(victim: Machine) -> None:
    assert succeeded(attack_as(victim, "ca-web")) == ["connect to sign.sock", "connect to http.sock"]


def test_another_user_reaches_nothing(victim: Machine) -> None:
    assert succeeded(attack_as(victim, "nobody")) == []


def test_nginxs_user_reaches_the_frontend_and_nothing_else(victim: Machine) -> None:
    assert succeeded(attack_as(victim, "www-data")) == ["connect to http.sock"]


def test_an_operator_reaches_the_admin_socket_and_nothing_else(victim: Machine) -> None:
    victim.run("useradd --system --groups ca-admin ca-operator")
    assert succeeded(attack_as(victim, "ca-operator")) == ["connect to admin.sock"]


@pytest.fixture
def hooked(victim: Machine) -> Iterator[Machine]:
    """The machine, while the attacker's code runs in the frontend's process."""
    hooks = "/etc/ca/hooks/sapi_custom_ca"
    victim.run(f"mkdir {hooks}; touch {hooks}/__init__.py; cp {ATTACK} {hooks}/api.py; systemctl restart ca-frontend")
    yield victim
    victim.run(f"rm -r {hooks}; systemctl restart ca-frontend")


def test_code_in_the_frontends_process_reaches_the_signers_socket_and_nothing_else(hooked: Machine) -> None:
    put = "curl -s --unix-socket /run/ca-frontend/http.sock -T /srv/client/web1.csr http://localhost/api/csr/web1"
    assert '"code":"not_authorized"' in hooked.run(put)
    hooked.run("journalctl --sync")
    line = hooked.run("journalctl --unit ca-frontend --output cat --grep '^attack: ' --lines 1")
    assert succeeded(json.loads(line.removeprefix("attack: "))) == ["connect to sign.sock", "connect to http.sock"]


def search(machine: Machine, pid: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(machine.run(f"{PYTHON} {SEARCH} {pid} {SECRETS}"))
    assert len(found) == 4
    return found


def test_root_finds_no_secret_in_the_frontends_memory(victim: Machine) -> None:
    assert set(search(victim, victim.show("ca-frontend", "MainPID")).values()) == {0}


def test_the_search_does_find_the_key_in_the_signers_memory_and_a_passphrase_where_there_is_one(
    victim: Machine,
) -> None:
    signer = search(victim, victim.show("ca-signerd", "MainPID"))
    assert signer["big"] + signer["little"] > 0
    holder = "import sys, time; kept = sys.stdin.read(); time.sleep(60)"
    victim.run(f"{PYTHON} -c '{holder}' </root/ca-passphrase >/dev/null 2>&1 & echo $! >/srv/holder.pid; sleep 0.5")
    pid = victim.run("cat /srv/holder.pid")
    try:
        assert search(victim, pid)["passphrase"] > 0
    finally:
        victim.run(f"kill {pid}")


def test_the_signer_keeps_no_passphrase_once_the_key_is_open(victim: Machine) -> None:
    assert search(victim, victim.show("ca-signerd", "MainPID"))["passphrase"] == 0


@pytest.mark.parametrize("unit", ["ca-signerd", "ca-frontend"])
def test_no_passphrase_is_in_an_environment_or_on_a_command_line(victim: Machine, unit: str) -> None:
    process = f"/proc/{victim.show(unit, 'MainPID')}"
    assert victim.run(f"tr '\\0' '\\n' <{process}/environ | grep ^PATH=")
    assert files_with_secrets(victim, f"{process}/environ {process}/cmdline") == []


def test_no_secret_is_in_the_journal_or_in_a_directory_for_temporary_files(victim: Machine) -> None:
    victim.run("journalctl --sync; journalctl --output export --all >/srv/journal")
    assert victim.run("grep --count --text 'ready to sign' /srv/journal") != "0"
    # What is older than the machine is not its own, and what is mounted below them is this repository and the like.
    files = "/srv/journal $(find /tmp /var/tmp /dev/shm -xdev -type f -newer /run/box.command)"
    assert files_with_secrets(victim, files) == []
    victim.run("cp /root/ca-passphrase /var/tmp/found; cp /var/lib/ca/ca.private_key.pem /tmp/found")
    assert files_with_secrets(victim, files) == ["/tmp/found", "/var/tmp/found"]
    victim.run("rm /tmp/found /var/tmp/found")


def files_with_secrets(machine: Machine, files: str) -> list[str]:
    """Which of the files hold the passphrase, or any private key."""
    patterns = "--regexp 'PRIVATE KEY' --regexp \"$(cat /root/ca-passphrase)\""
    return sorted(machine.run(f"grep --files-with-matches --text --fixed-strings {patterns} {files} || :").split())


def test_neither_process_leaves_a_core(victim: Machine) -> None:
    where = "/ /srv /var/lib/ca /var/lib/systemd /tmp /var/tmp"
    cores = f"find {where} -maxdepth 2 -xdev -name 'core*' -newer /srv/before -type f"
    victim.run("touch /srv/before; cd /srv; ulimit -c unlimited; sleep 60 & kill -SEGV $!; wait $! || :")
    # A process without the units' limit does leave one, where cores are written into files at all.
    if "|" not in victim.run("cat /proc/sys/kernel/core_pattern"):
        assert victim.run(cores) != ""
    victim.run("rm -f /srv/core*; touch /srv/before; systemctl kill --signal SEGV ca-signerd ca-frontend")
    for unit in ("ca-signerd", "ca-frontend"):
        await_journal = f"journalctl --unit {unit} --output cat --grep 'status=11/SEGV' --lines 1"
        assert "code=killed, status=11/SEGV" in victim.run(f"until {await_journal}; do sleep 0.1; done")
        victim.run(f"until systemctl is-active {unit}; do sleep 0.1; done")
    assert victim.run(cores) == ""
