"""What docs/revocation.md says to do when something went wrong, done as it stands there."""

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.revocation.deployment import Certificate, Deployment, recipe

SINCE = "2026-11-20T08:00:00Z"  # as the document has it


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """One of its own for each test: what is done here, nobody else should notice."""
    with Deployment() as one:
        yield one


def follow(deployment: Deployment, block: str) -> None:
    """Each ca_admin command of a block; where there is no terminal to ask on, --yes must be said."""
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["ca_admin"]:
            assert not words, f"{line} is no command of ours"
            continue
        sure = ["--yes"] if words[1] == "revoke" else []
        done = deployment.operator.tries(*words[1:], *sure)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def state_of(deployment: Deployment, certificate: Certificate) -> tuple[str, str | None]:
    """What the ledger says of it now, and why."""
    done = deployment.operator.tries("show", certificate.serial, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["state"], found["reason"]


def issue(deployment: Deployment, directory: Path, client: str) -> Certificate:
    """A certificate of a client's, in a directory of its own."""
    own = directory / f"{client}-{time.monotonic_ns()}"
    own.mkdir()
    return deployment.issue(own, client)


def test_when_the_frontend_was_taken_over(deployment: Deployment, tmp_path: Path) -> None:
    before = issue(deployment, tmp_path, "web2")
    time.sleep(1.1)  # times are whole seconds
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    explained, strange = issue(deployment, tmp_path, "web1"), issue(deployment, tmp_path, "web2")
    follow(deployment, recipe("**The frontend was taken over.**", {SINCE: since}))
    assert state_of(deployment, before) == ("valid", None)
    assert state_of(deployment, explained) == ("valid", None)
    assert state_of(deployment, strange) == ("revoked", "superseded")
    assert state_of(deployment, issue(deployment, tmp_path, "web1")) == ("valid", None)  # it was thawed


def test_when_a_host_is_lost(deployment: Deployment, tmp_path: Path) -> None:
    lost, other = issue(deployment, tmp_path, "web1"), issue(deployment, tmp_path, "web2")
    follow(deployment, recipe("**A host is lost**", {}))
    assert state_of(deployment, lost) == ("revoked", "cessationOfOperation")
    assert state_of(deployment, other) == ("valid", None)
