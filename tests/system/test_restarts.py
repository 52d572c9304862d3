"""Restarts, crashes and hangs: what a client that keeps asking notices of them."""

import json
import time
from typing import Any

import pytest

from tests.system.machine import PYTHON, ROOT, Machine

LOAD = ROOT / "tests/system/load.py"
RECOVERED_SECONDS = 5.0  # from a SIGKILL to the next certificate, unattended
UNITS = ("ca-signerd", "ca-frontend")


def load_while(machine: Machine, seconds: float, script: str) -> dict[str, Any]:
    """Steady load through nginx for so long, and meanwhile the script."""
    result: dict[str, Any] = json.loads(
        machine.run(
            f"""
            systemctl reset-failed 'ca-*'
            {PYTHON} {LOAD} {seconds} 100 /srv/client/web1.csr >/srv/load &
            sleep 0.5
            {script}
            wait $!
            cat /srv/load
            """
        )
    )
    return result


def test_restarts_of_either_unit_under_load_lose_no_request(machine: Machine) -> None:
    before = [machine.show(unit, "MainPID") for unit in UNITS]
    restarts = "systemctl restart ca-signerd; systemctl restart ca-frontend; systemctl restart ca-signerd ca-frontend"
    result = load_while(machine, 5, restarts)
    assert set(before).isdisjoint(machine.show(unit, "MainPID") for unit in UNITS)
    assert result["lost"] == []
    assert result["answered"] > 300  # of some 500: they waited, and were answered


@pytest.mark.parametrize("unit", UNITS)
def test_a_stop_and_a_later_request_start_the_unit_again(machine: Machine, unit: str) -> None:
    machine.run(f"systemctl stop {unit}.service")
    assert issue(machine) == "200"
    assert machine.show(unit, "ActiveState") == "active"


def issue(machine: Machine) -> str:
    """The status of a request through nginx."""
    return machine.run(
        "curl -s -o /dev/null -w '%{http_code}' --cacert /var/lib/ca/ca.crt.pem -T /srv/client/web1.csr "
        "https://ca.example.net/api/csr/web1 || :"
    )


def seconds_until_issued(machine: Machine) -> float:
    """How long until a request through nginx is answered by a certificate."""
    began = time.monotonic()
    while issue(machine) != "200":
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.parametrize("unit", UNITS)
def test_after_sigkill_it_issues_again_within_five_seconds(machine: Machine, unit: str) -> None:
    machine.run("systemctl reset-failed 'ca-*'")
    before = machine.show(unit, "MainPID")
    machine.run(f"kill -KILL {before}")
    assert seconds_until_issued(machine) < RECOVERED_SECONDS
    assert machine.show(unit, "MainPID") != before
    assert machine.show(unit, "NRestarts") != "0"


def test_what_sigkill_cuts_off_is_an_answer_and_never_a_refused_connection(machine: Machine) -> None:
    # What the signer had taken and not answered can't be known: 503. Everything else waits for its successor.
    kill = "systemctl kill --signal KILL ca-signerd"
    result = load_while(machine, 4, f"{kill}; sleep 1.8; {kill}")
    assert [one for one in result["lost"] if not one.startswith("503 ")] == []
    assert len(result["lost"]) <= 2 * 4  # at most one for each client and each time
    assert result["answered"] > 300


def test_units_that_hang_are_restarted_by_the_watchdog(machine: Machine) -> None:
    assert [machine.show(unit, "WatchdogUSec") for unit in UNITS] == ["15s", "30s"]
    # Shorter, lest the tests wait for it; the units' own values are those above.
    for unit in UNITS:
        machine.run(
            f"""
            mkdir -p /run/systemd/system/{unit}.service.d
            printf '[Service]\\nWatchdogSec=3s\\n' >/run/systemd/system/{unit}.service.d/watchdog.conf
            """
        )
    machine.run("systemctl daemon-reload; systemctl reset-failed 'ca-*'; systemctl restart ca-signerd ca-frontend")
    try:
        before = [machine.show(unit, "MainPID") for unit in UNITS]
        machine.run(f"kill -STOP {' '.join(before)}")
        seconds_until_issued(machine)
        assert set(before).isdisjoint(machine.show(unit, "MainPID") for unit in UNITS)
        for unit in UNITS:
            journal = machine.run(f"journalctl --sync; journalctl --unit {unit} --output cat --since -60s")
            assert "Watchdog timeout (limit 3s)!" in journal
    finally:
        machine.run("rm -r /run/systemd/system/ca-*.service.d; systemctl daemon-reload")
        machine.run("systemctl reset-failed 'ca-*'; systemctl restart ca-signerd ca-frontend")


def test_a_unit_that_works_is_left_alone_by_the_watchdog(machine: Machine) -> None:
    for unit in UNITS:
        assert "Watchdog timeout" not in machine.run(
            f"journalctl --unit {unit} --output cat _PID=$(systemctl show --value --property MainPID {unit})"
        )


def handed_out_and_recorded(machine: Machine) -> tuple[int, int]:
    """How many certificates the frontend has handed out, by its log, and how many are on the ledger."""
    machine.run("journalctl --sync")
    answered = machine.run("journalctl --unit ca-frontend --output cat --grep 'PUT /api/csr.* 200 ' | wc -l")
    certificates = json.loads(machine.run("ca_admin status --json"))["certificates"]
    assert certificates["pending"] == 0
    return int(answered), sum(certificates.values())


@pytest.fixture(scope="module", autouse=True)
def at_first(machine: Machine) -> tuple[int, int]:
    return handed_out_and_recorded(machine)


def test_every_certificate_that_was_handed_out_is_on_the_ledger(machine: Machine, at_first: tuple[int, int]) -> None:
    handed_out, recorded = (now - then for now, then in zip(handed_out_and_recorded(machine), at_first, strict=True))
    assert handed_out > 300
    assert recorded >= handed_out  # besides, those that a SIGKILL kept from their client
