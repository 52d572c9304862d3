"""The frontend before a signer's stub; a test that needs the real signer starts ``Frontend`` before that.

Stub and frontend live for a module; a test gets the stub as new, and starts frontends of its own where it
changes more than the stub's answers.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.frontend.running import Frontend
from tests.frontend.signer_stub import SignerStub, signer_stub
from tests.running import short_directory

StartFrontend = Callable[..., Frontend]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    path = short_directory()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def _stub() -> Iterator[SignerStub]:
    with signer_stub() as stub:
        yield stub


@pytest.fixture
def signer(_stub: SignerStub) -> SignerStub:
    """The stub, asked nothing yet."""
    _stub.reset()
    return _stub


@pytest.fixture(scope="module")
def _frontend(_stub: SignerStub) -> Iterator[Frontend]:
    with Frontend(_stub.path) as frontend:
        yield frontend


@pytest.fixture
def frontend(_frontend: Frontend, signer: SignerStub) -> Frontend:
    """A frontend with the default settings before the stub."""
    return _frontend


@pytest.fixture
def start_frontend(signer: SignerStub) -> Iterator[StartFrontend]:
    """Starts a frontend before the stub, as ``Frontend`` takes it; it is ended after the test."""
    with ExitStack() as stack:

        def start(*arguments: str, **settings: Any) -> Frontend:
            return stack.enter_context(Frontend(signer.path, *arguments, **settings))

        yield start
