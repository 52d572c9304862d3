"""A signer's end of sign.sock for tests of the HTTP side alone: it answers, and remembers what it was asked.

It signs with a throw-away key and checks nothing: no test may conclude from it what the signer allows.
"""

import contextlib
import datetime
import hashlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import ErrorCode, Refused
from protocol.fields import Distribution, Message, Rule
from protocol.messages import (
    CheckReply,
    CheckRequest,
    CrlReply,
    CrlRequest,
    DescribeReply,
    DescribeRequest,
    HelloReply,
    HelloRequest,
    IssueReply,
    IssueRequest,
    MetricsReply,
    MetricsRequest,
    OcspReply,
    OcspRequest,
    RevokeOwnReply,
    RevokeOwnRequest,
)
from protocol.wire import FrameReader, decode_request, encode_refusal, encode_reply
from tests.running import DEADLINE, short_directory

NOT_BEFORE = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2034, 1, 1, tzinfo=datetime.UTC)
THIS_UPDATE = int(time.time())
NEXT_UPDATE = THIS_UPDATE + 86_400


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _certify(subject: str, key: Any, issuer: str, issuer_key: Any, serial: int) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(subject),
        public_key=key,
        serial_number=serial,
        not_valid_before=NOT_BEFORE,
        not_valid_after=NOT_AFTER,
    )
    return builder.sign(issuer_key, hashes.SHA256())


class SignerStub:
    """Listens at ``path`` until closed. ``asked`` holds the requests; ``refuse_with``, ``state``, ``check_reply``
    and ``ocsp_reply`` change the answers; while ``go_on`` is cleared, requests to issue wait for theirs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.go_on = threading.Event()
        self.reset()
        root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = _certify("root", root_key.public_key(), "root", root_key, 1)
        ca = _certify("ca", self._key.public_key(), "root", root_key, 2)
        self.chain = (ca.public_bytes(Encoding.DER), root.public_bytes(Encoding.DER))
        self._answers: dict[type[Message], Callable[[Any], Message]] = {
            HelloRequest: lambda request: HelloReply(version=request.version),
            DescribeRequest: self._describe,
            IssueRequest: self._issue,
            CheckRequest: self._check,
            CrlRequest: lambda request: CrlReply(crl=b"crl", this_update=THIS_UPDATE, next_update=NEXT_UPDATE),
            OcspRequest: lambda request: self.ocsp_reply,
            MetricsRequest: self._metrics,
            RevokeOwnRequest: lambda request: RevokeOwnReply(revoked_at=THIS_UPDATE, same_key=(b"\x0a\xbc",)),
        }
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Forgets what it was asked, and answers as in the beginning."""
        self.asked: list[Message] = []
        self.refuse_with: Refused | None = None
        self.go_on.set()
        self.state = "ready"
        self.check_reply: CheckReply | None = None
        self.ocsp_reply = OcspReply(response=b"ocsp", this_update=THIS_UPDATE, next_update=NEXT_UPDATE)

    def close(self) -> None:
        """Ends the listener and all connections, as a signer that went away."""
        self.path.unlink(missing_ok=True)
        for open_socket in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()

    def issue_requests(self) -> list[IssueRequest]:
        """What it was asked to issue (or, for a dry run, to check)."""
        return [request for request in self.asked if isinstance(request, IssueRequest)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader()
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                reader.feed(data)
                while (frame := reader.next_frame()) is not None:
                    op, request_id, request = decode_request(frame)
                    connection.sendall(self._answer(op, request_id, request))

    def _answer(self, op: str, request_id: int, request: Message) -> bytes:
        if op != "hello":
            self.asked.append(request)
        if op in {"issue", "check", "revoke_own"}:
            self.go_on.wait(DEADLINE)
            if self.refuse_with is not None:
                return encode_refusal(request_id, self.refuse_with.code, self.refuse_with.detail)
        try:
            return encode_reply(request_id, self._answers[type(request)](request))
        except ValueError:
            return encode_refusal(request_id, ErrorCode.BAD_CSR, "the CSR can't be parsed")

    def _describe(self, request: DescribeRequest) -> DescribeReply:
        return DescribeReply(
            state=self.state,
            chain=self.chain,
            profiles=(),
            base_url=None,
            csr_bytes_max=65536,
            names_max=100,
        )

    def _metrics(self, request: MetricsRequest) -> MetricsReply:
        nothing = Distribution(bounds=(1,), counts=(0, 0), total=0)
        return MetricsReply(
            state=self.state,
            issuer_not_after=int(NOT_AFTER.timestamp()),
            certificates={},
            crl_this_update=None,
            crl_next_update=None,
            entries=0,
            ledger_bytes=0,
            quotas=(),
            batches=nothing,
            commits=nothing,
            answers=(),
        )

    def _certificate(self, request: IssueRequest) -> x509.Certificate:
        csr = x509.load_der_x509_csr(request.csr)
        serial = int.from_bytes(hashlib.sha256(request.csr).digest()[:19])
        return _certify("leaf", csr.public_key(), "ca", self._key, serial)

    def _issue(self, request: IssueRequest) -> IssueReply:
        certificate = self._certificate(request)
        serial = certificate.serial_number
        return IssueReply(
            certificate=certificate.public_bytes(Encoding.DER),
            chain=self.chain,
            serial=serial.to_bytes((serial.bit_length() + 7) // 8),
            not_before=int(NOT_BEFORE.timestamp()),
            not_after=int(NOT_AFTER.timestamp()),
        )

    def _check(self, request: CheckRequest) -> CheckReply:
        return self.check_reply or CheckReply(
            allowed=True,
            rules=(Rule(rule="names", ok=True, detail="every name is allowed"),),
            to_be_signed=self._certificate(request).tbs_certificate_bytes,
        )


@contextlib.contextmanager
def signer_stub() -> Iterator[SignerStub]:
    """A stub that listens in a directory of its own."""
    directory = short_directory()
    stub = SignerStub(directory / "sign.sock")
    try:
        yield stub
    finally:
        stub.close()
        shutil.rmtree(directory)


def make_csr(
    *names: str, common_name: str | None = None, extensions: tuple[x509.ExtensionType, ...] = ()
) -> tuple[ec.EllipticCurvePrivateKey, x509.CertificateSigningRequest]:
    """A P-256 key and its CSR for DNS names."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder(_name(common_name) if common_name else x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return key, builder.sign(key, hashes.SHA256())


def spki(csr: x509.CertificateSigningRequest) -> bytes:
    """The CSR's SubjectPublicKeyInfo."""
    return csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
