"""What a taken-over frontend might do with its socket: run as the frontend's user, with nothing that it has not.

    python tests/hostile/frontend_attack.py SIGN_SOCKET ADMIN_SOCKET VICTIM_SERIAL MESSAGES SEED

It sends so many messages, and prints what came of them: the certificates that it got, in DER, and how often it
was refused, or its connection closed.
"""

import contextlib
import functools
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack

from tests.csrs import (
    CN,
    csr_for,
    dns,
    extension,
    extension_request,
    integer,
    make_csr,
    oid,
    private_key,
    rdn,
    san,
    sequence,
    tlv,
)
from tests.raw_peer import RawPeer, frame

BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"
OCSP_SIGNING = oid("1.3.6.1.5.5.7.3.9")
CA_TRUE = extension(BASIC_CONSTRAINTS, sequence(tlv(1, b"\xff")))
MESSAGES_PER_CONNECTION = 200

Fields = dict[str, Any]


def csrs() -> list[bytes]:
    """What to ask for: what is allowed, and much that is not."""
    allowed = san(dns("a.web.example.net"))
    return [
        *(csr_for(dns(f"{name}.web.example.net")) for name in "abc"),
        make_csr(key=private_key("p256"), subject=[rdn(CN, "cn.web.example.net")]),
        # other names
        *(csr_for(dns(name)) for name in ("bank.example", "vault.web.example.net", "*.web.example.net", "example.net")),
        csr_for(dns("a.web.example.net"), dns("bank.example")),
        csr_for(dns("a.web.example.net"), tlv(0x87, b"\x08\x08\x08\x08")),
        csr_for(tlv(0x81, b"root@example.net")),
        make_csr(subject=[rdn(CN, "bank.example")]),
        # more than a leaf
        make_csr(attributes=[extension_request(allowed, CA_TRUE)]),
        make_csr(attributes=[extension_request(allowed, extension(KEY_USAGE, tlv(3, b"\x01\x06")))]),
        make_csr(attributes=[extension_request(allowed, extension(EXTENDED_KEY_USAGE, sequence(OCSP_SIGNING)))]),
        # other keys, broken ones
        make_csr(key=private_key("rsa2048"), attributes=[extension_request(allowed)]),
        csr_for(dns("a.web.example.net"))[:-1] + b"\0",
        csr_for(dns("a.web.example.net")) + b"\0",
        b"\x30\x00",
        make_csr(version=integer(1)),
    ]  # fmt: skip


def valid(chance: random.Random, requests: Sequence[bytes], victim: bytes) -> dict[str, Fields]:
    """A request that is well-formed, for each operation of both sockets, and for some that there are not."""
    wanted = chance.choice(["1.3.6.1.5.5.7.1.24", BASIC_CONSTRAINTS, "2.5.29.17"])
    wish = {"oid": wanted, "value": b"\x05\x00", "critical": True}
    issue: Fields = {
        "csr": chance.choice([*requests[:4], *requests[:4], *requests[:4], *requests]),  # the first are allowed
        "client": chance.choice([*["web1", "web2"] * 3, "guarded", "root", "x" * 128]),
        "profile": chance.choice([None, "server", "server", "none"]),
        "lifetime": chance.choice([None, 3600, 10 * 86_400, 2**40]),
        "extensions": [wish] if chance.random() < 0.1 else [],
        "idempotency_key": chance.choice([None, None, "key", "x" * 128]),
        "hooks": chance.choice([None, None, {"profile": "server", "lifetime": 50 * 86_400}]),
        "mac": chance.choice([None, {"time": int(time.time()), "mac": bytes(32)}]),
        "renewal": chance.choice([None, {"serial": victim, "time": int(time.time()), "signature": b"x" * 64}]),
    }
    return {
        "issue": issue,
        "check": issue,
        "describe": {},
        "hello": {"version": 1},
        "crl": {"shard": chance.choice([0, 1, 65535])},
        "ocsp": {"request": chance.randbytes(40)},
        "metrics": {},
        "revoke_own": {"serial": victim, "reason": "superseded", "signature": chance.randbytes(64)},
        "status": {},
        "list": {"name": "*"},
        "show": {"serial": victim},
        "revoke": {"reason": "superseded", "serials": [victim], "issued_since": None, "client": None},
        "freeze": {"why": "attack"},
        "thaw": {"why": "attack"},
        "reload": {},
        "verify": {"seq": 0, "hash": bytes(32), "limit": 1},
        "checkpoint": {},
        "backup": {"offset": 0},
        "sign": {"to_be_signed": b"\x30\x00"},
        "__init__": {},
        "": {},
    }


def values(chance: random.Random) -> Any:
    """Something that may stand in a field, and mostly should not."""
    deep: Any = []
    for _ in range(chance.choice([1, 100, 600])):
        deep = [deep]
    return chance.choice(
        [
            None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1.5, float("nan"), float("inf"),
            "", "server", "web1", "guarded", "web1\n", "..", "\0", "x" * 129, "x" * 70_000, "\u202e",
            b"", bytes(32), b"x" * 21, b"x" * 70_000, chance.randbytes(20), [], {}, [None], {"a": 1}, deep,
            msgpack.ExtType(5, b"x"), msgpack.Timestamp(0, 0), ["server"] * 5000, {str(n): n for n in range(100)},
        ]
    )  # fmt: skip


STRANGE_FIELDS = ("ca", "serial", "issuer", "not_after", "socket", "asker", "uid", "now")


def mutated(chance: random.Random, op: str, fields: Fields) -> bytes:
    """A frame in which something is not as it should be."""
    message: Fields = {"op": op, "id": chance.randrange(2**32), **fields}
    return chance.choice(MUTATIONS)(chance, message)


def another_value(chance: random.Random, message: Fields) -> bytes:
    return frame({**message, chance.choice(list(message)): values(chance)})


def a_field_too_few(chance: random.Random, message: Fields) -> bytes:
    missing = chance.choice(list(message))
    return frame({name: value for name, value in message.items() if name != missing})


def a_field_too_many(chance: random.Random, message: Fields) -> bytes:
    return frame({**message, chance.choice(STRANGE_FIELDS): values(chance)})


def a_field_twice(chance: random.Random, message: Fields) -> bytes:
    pairs = [*message.items(), (chance.choice(list(message)), values(chance))]
    return frame(bytes([0x80 | len(pairs)]) + b"".join(msgpack.packb(part) for pair in pairs for part in pair))


def flipped_bits(chance: random.Random, message: Fields) -> bytes:
    octets = bytearray(frame(message))
    for _ in range(chance.choice([1, 2, 10])):
        octets[chance.randrange(4, len(octets))] ^= 1 << chance.randrange(8)
    return bytes(octets)


def cut(chance: random.Random, message: Fields) -> bytes:
    body = msgpack.packb(message)
    return frame(body[: chance.randrange(1, len(body))])


def more_after_the_end(chance: random.Random, message: Fields) -> bytes:
    return frame(msgpack.packb(message) + chance.randbytes(3))


def another_length(chance: random.Random, message: Fields) -> bytes:
    length = chance.choice([0, 1, 2**18, 2**18 + 1, 2**31, 2**32 - 1])
    return bytes(length.to_bytes(4, "big") + msgpack.packb(message))


def no_message_at_all(chance: random.Random, _message: Fields) -> bytes:
    return frame(chance.randbytes(chance.randrange(1, 200)))


def fields_of_another_operation(_chance: random.Random, message: Fields) -> bytes:
    return frame({**message, "csr": b"\x30\x00", "client": "web1"})


MUTATIONS: list[Callable[[random.Random, Fields], bytes]] = [
    *(another_value, a_field_too_few, a_field_too_many, a_field_twice, flipped_bits),
    *(cut, more_after_the_end, another_length, no_message_at_all, fields_of_another_operation),
]


class Attack:
    """One run. ``certificates``: what it got, by which client it was asked for, in which profile, with which CSR."""

    def __init__(self, path: str, victim: bytes, seed: int) -> None:
        self._path = path
        self._victim = victim
        self._chance = random.Random(seed)  # noqa: S311 - so that a run can be had again
        self._csrs = csrs()
        self._peer: RawPeer | None = None
        self._on_this = 0
        self.outcomes: Counter[str] = Counter()
        self.certificates: list[dict[str, str]] = []

    def messages(self) -> Iterator[Callable[[], None]]:
        """Every operation as it should be and with each field mutated, and then the same with other values."""
        while True:
            for op, fields in valid(self._chance, self._csrs, self._victim).items():
                yield functools.partial(self._ask, op, self._framed(op, fields), fields)
                for name in fields:
                    changed = {**fields, name: values(self._chance)}
                    yield functools.partial(self._ask, op, self._framed(op, changed), changed)
                for _ in range(5):
                    yield functools.partial(self._ask, op, mutated(self._chance, op, fields), fields)
            for _ in range(40):  # what looks right, and asks for what it must not have
                fields = valid(self._chance, self._csrs, self._victim)["issue"]
                yield functools.partial(self._ask, "issue", self._framed("issue", fields), fields)
            yield self._pipelined

    @staticmethod
    def _framed(op: str, fields: Fields) -> bytes:
        try:
            return frame({"op": op, "id": 1, **fields})
        except (ValueError, OverflowError):  # msgpack itself has no form for it
            return frame(b"\x80")

    def _ask(self, op: str, data: bytes, fields: Fields) -> None:
        reply = self._exchange(data)
        if reply is None:
            self.outcomes["closed"] += 1
        elif reply.get("ok") is not True:
            self.outcomes[f"refused: {reply.get('error')}"] += 1
        else:
            self.outcomes[f"answered: {op}"] += 1
            if "certificate" in reply:
                got = {"certificate": reply["certificate"].hex(), "client": str(fields.get("client"))}
                self.certificates.append(got)

    def _exchange(self, data: bytes) -> Fields | None:
        """The reply; None if the connection was closed, or nothing can come for lack of a whole frame."""
        try:
            peer = self._connected()
            peer.send(data)
            if int.from_bytes(data[:4], "big") > len(data) - 4:  # the signer waits for the rest: it gets none
                self._hang_up()
                return None
            return peer.receive()
        except (AssertionError, OSError):
            self._hang_up()
            return None

    def _pipelined(self) -> None:
        """Many requests at once, of which no reply is taken, and then the connection ends."""
        with contextlib.suppress(OSError, AssertionError):
            peer = self._connected()
            request = frame({"op": "issue", "id": 1, "csr": self._csrs[0], "client": "web2"})
            peer.send(request * self._chance.choice([2, 50]))
        self._hang_up()
        self.outcomes["hung up"] += 1

    def _connected(self) -> RawPeer:
        self._on_this += 1
        if self._peer is None or self._on_this > MESSAGES_PER_CONNECTION:
            self._hang_up()
            self._peer = RawPeer(self._path)
        return self._peer

    def _hang_up(self) -> None:
        if self._peer is not None:
            self._peer.close()
        self._peer, self._on_this = None, 0


def admin_socket_answers(path: str) -> bool:
    """Whether the other socket says anything at all to this user."""
    try:
        with RawPeer(path):
            return True
    except (AssertionError, OSError):
        return False


def main(sign: str, admin: str, victim: str, messages: str, seed: str) -> None:
    attack = Attack(sign, bytes.fromhex(victim), int(seed))
    for send in itertools.islice(attack.messages(), int(messages)):
        send()
    result = {"admin": admin_socket_answers(admin), "outcomes": attack.outcomes, "certificates": attack.certificates}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
