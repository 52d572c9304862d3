"""ca_admin doctor: systemd's units, their sandboxes and sockets."""

import grp
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from signerd.commands.finding import Finding, Level, text_of

_SERVICES = {"ca-signerd.service": "ca", "ca-frontend.service": "ca-web"}
_UNITS = ("ca-sign.socket", "ca-admin.socket", "ca-frontend.socket", *_SERVICES)
_EXPOSURE_MAX = 1.0  # of 10; as shipped they are at 0.4 and 0.2

# Whose each socket is, which group may connect (None: whichever nginx is in), and what opens it.
_SOCKETS = {
    Path("/run/ca/sign.sock"): ("ca", "ca-web", "ca-sign.socket"),
    Path("/run/ca/admin.sock"): ("ca", "ca-admin", "ca-admin.socket"),
    Path("/run/ca-frontend/http.sock"): ("ca-web", None, "ca-frontend.socket"),
}


def check_units() -> Iterator[Finding]:
    """Each unit is loaded, comes with the next boot, and runs."""
    wanted = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "NRestarts", "Result")
    states = {unit: _properties(unit, *wanted) for unit in _UNITS}
    if None in states.values():
        yield Finding("units", Level.UNKNOWN, "systemctl doesn't answer", "run it where systemd is process 1")
        return
    known = {unit: state for unit, state in states.items() if state is not None}
    if any(known[unit]["ActiveState"] != "active" for unit in _SERVICES):
        # A socket comes with its service: that it isn't there either is no second finding.
        known = {unit: state for unit, state in known.items() if unit in _SERVICES or state["Result"] != "success"}
    findings = [finding for unit, state in known.items() if (finding := _unit_finding(unit, state))]
    yield from findings or [Finding("units", Level.OK, "all are running, and enabled for the next boot")]


def _unit_finding(unit: str, state: dict[str, str]) -> Finding | None:
    if state["LoadState"] != "loaded":
        return Finding("units", Level.PROBLEM, f"{unit} is not installed", "install signerd again")
    if state["ActiveState"] != "active":
        detail = f"{unit} is {state['ActiveState']} ({state['Result']})"
        advice = f"systemctl status {unit} says why; then: systemctl reset-failed {unit}; systemctl restart {unit}"
        if state["ActiveState"] == "inactive" and state["UnitFileState"] == "disabled":
            detail = f"{unit} is inactive, and not started at boot either"
            advice = f"systemctl enable --now {unit}"
        elif state["ActiveState"] == "activating":
            detail = f"{unit} is starting, and not ready yet: does it wait for its passphrase?"
            advice = f"systemd-tty-ask-password-agent answers for it; systemctl status {unit} says what it does"
        return Finding("units", Level.PROBLEM, detail, advice)
    if unit in _SERVICES and state["UnitFileState"] != "enabled":
        return Finding("units", Level.WARNING, f"{unit} is not started at boot", f"systemctl enable {unit}")
    if state["NeedDaemonReload"] == "yes":
        detail = f"{unit} was changed on disk and not loaded"
        return Finding("units", Level.WARNING, detail, f"systemctl daemon-reload; systemctl restart {unit}")
    if state.get("NRestarts", "0") not in {"0", ""}:
        detail = f"{unit} ended {state['NRestarts']} times by itself and was started again"
        return Finding("units", Level.WARNING, detail, f"journalctl --unit {unit} says why")
    return None


def check_sandboxes() -> Iterator[Finding]:
    """Each service runs as its user, and no drop-in has opened its sandbox."""
    for unit, user in _SERVICES.items():
        state = _properties(unit, "LoadState", "User", "PrivateNetwork", "NoNewPrivileges")
        if state is None or state["LoadState"] != "loaded":
            continue  # which check_units says
        verdict = text_of("systemd-analyze", "security", "--no-pager", unit)
        exposure = re.search(r"exposure level for \S+: ([0-9.]+)", verdict or "")
        advice = f"systemctl cat {unit} shows which drop-in does it; systemd-analyze security {unit} what it costs"
        if state.get("User") != user:
            yield Finding("sandbox", Level.PROBLEM, f"{unit} runs as {state.get('User') or 'root'}, not {user}", advice)
        elif state["NoNewPrivileges"] != "yes" or (user == "ca" and state["PrivateNetwork"] != "yes"):
            yield Finding("sandbox", Level.PROBLEM, f"{unit} has a network, or a way to more rights", advice)
        elif exposure is None:
            yield Finding("sandbox", Level.UNKNOWN, f"systemd-analyze doesn't rate {unit}", "look at it yourself")
        elif float(exposure[1]) > _EXPOSURE_MAX:
            yield Finding("sandbox", Level.WARNING, f"{unit} is exposed at {exposure[1]}, as shipped below 1", advice)
        else:
            yield Finding("sandbox", Level.OK, f"{unit} runs as {user}; exposure {exposure[1]} of 10")


def check_sockets() -> Iterator[Finding]:
    """Each socket belongs to whom it is for, and nobody else may connect."""
    seen = [(path, unit) for path, (_, _, unit) in _SOCKETS.items() if path.is_socket() or _is_active(unit)]
    findings = [finding for path, unit in seen if (finding := _socket_finding(path, unit))]
    if seen:
        yield from findings or [Finding("sockets", Level.OK, "each belongs to whom it is for")]


def _is_active(unit: str) -> bool:
    """Where it isn't, check_units says so."""
    return (_properties(unit, "ActiveState") or {}).get("ActiveState", "active") == "active"


def _socket_finding(path: Path, unit: str) -> Finding | None:
    if not path.is_socket():
        return Finding("sockets", Level.PROBLEM, f"there is no socket {path}", f"systemctl restart {unit}")
    owner, group, _ = _SOCKETS[path]
    status = path.stat()
    found = (_name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid))
    if found == (owner, group or found[1]) and not status.st_mode & 0o007:
        return None
    detail = f"{path} is {':'.join(found)}, mode {stat.S_IMODE(status.st_mode):o}"
    advice = f"it should be {owner}:{group or found[1]}, mode 660: systemctl cat {unit}, and restart that"
    return Finding("sockets", Level.PROBLEM, detail, advice)


def check_memory() -> Iterator[Finding]:
    """The key can't reach the swap, and no passphrase stands in an environment."""
    for unit in _SERVICES:
        pid = (_properties(unit, "MainPID") or {}).get("MainPID", "0")
        if pid != "0" and b"CA_PASSPHRASE=" in Path("/proc", pid, "environ").read_bytes():
            detail = f"CA_PASSPHRASE is in the environment of {unit}"
            yield Finding("memory", Level.PROBLEM, detail, f"take it out: systemctl cat {unit}; use the credential")
    pid = (_properties("ca-signerd.service", "MainPID") or {}).get("MainPID", "0")
    if pid == "0":
        return
    locked = re.search(r"^VmLck:\s+(\d+)", Path("/proc", pid, "status").read_text(), flags=re.MULTILINE)
    swaps = Path("/proc/swaps").read_text().splitlines()[1:]
    if swaps and locked is not None and locked[1] == "0":
        detail = "the signer's memory isn't locked, and there is swap: the key may get there"
        yield Finding("memory", Level.WARNING, detail, "encrypt the swap, or: swapoff --all")
    else:
        yield Finding("memory", Level.OK, "no swap" if not swaps else "the signer's memory is locked")


def _properties(unit: str, *names: str) -> dict[str, str] | None:
    shown = text_of("systemctl", "show", unit, *(f"--property={name}" for name in names))
    return None if shown is None else dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _name(look_up: Callable[[int], tuple[Any, ...]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
