"""One CA for all tests of a module: each has certificates of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.revocation.deployment import Certificate, Deployment


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with Deployment() as one:
        yield one


@pytest.fixture
def certificate(deployment: Deployment, tmp_path: Path) -> Certificate:
    """A new certificate, good so far."""
    return deployment.issue(tmp_path)
