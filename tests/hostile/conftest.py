"""A real frontend before a signer's stub, for clients that mean harm."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.frontend.running import Frontend
from tests.frontend.signer_stub import SignerStub, make_csr, signer_stub

PEM = make_csr("a.example.net")[1].public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def _stub() -> Iterator[SignerStub]:
    with signer_stub() as stub:
        yield stub


@pytest.fixture
def signer(_stub: SignerStub) -> SignerStub:
    _stub.reset()
    return _stub


@pytest.fixture(scope="module")
def _frontend(_stub: SignerStub) -> Iterator[Frontend]:
    with Frontend(_stub.path) as frontend:
        yield frontend


@pytest.fixture
def frontend(_frontend: Frontend, signer: SignerStub) -> Iterator[Frontend]:
    """A frontend. Whatever a test did to it, it still serves afterwards."""
    yield _frontend
    signer.reset()
    assert _frontend.put_csr(PEM).status == 200
    assert "Traceback" not in _frontend.log
