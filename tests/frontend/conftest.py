"""The frontend before a signer's stub; a test that needs the real signer starts the frontend before that."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.frontend.running import Frontend, running_frontend
from tests.frontend.signer_stub import SignerStub, signer_stub


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[SignerStub]:
    with signer_stub(tmp_path) as stub:
        yield stub


@pytest.fixture
def start_frontend(tmp_path: Path) -> Iterator[Callable[..., Frontend]]:
    """Starts a frontend before a given sign socket, with given settings; it is ended after the test."""
    with ExitStack() as stack:

        def start(sign_socket: Path, *arguments: str, **settings: object) -> Frontend:
            return stack.enter_context(running_frontend(tmp_path, sign_socket, *arguments, **settings))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def frontend(signer: SignerStub, start_frontend: Callable[..., Frontend]) -> Frontend:
    """A frontend with the default settings before the stub."""
    return start_frontend(signer.path)
