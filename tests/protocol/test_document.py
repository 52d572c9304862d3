"""docs/protocol.md says what the code does: its tables are compared with it, its example is played back."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import inspect

from protocol import client, daemon, fields, messages, wire
from protocol.client import SignerClient
from protocol.errors import ErrorCode
from protocol.fields import Message
from protocol.messages import OPERATIONS, Socket
from signerd import connection
from signerd.operations import ANSWERS
from signerd.revocation.service import IN_VAIN_MAX
from tests.raw_peer import RawPeer
from tests.running import ROOT, Signer

DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

# The document's own words for the types that have limits.
NAMED: dict[str, Any] = {
    "client id": fields.ClientId,
    "profile name": fields.ProfileName,
    "line": fields.Text,
    "serial number": fields.Serial,
    "CSR": fields.CsrDer,
    "seconds": fields.Seconds,
    "signature": fields.Signature,
    "OID": fields.Oid,
    "SHA-256": fields.Sha256,
}
SOCKETS = {
    frozenset(Socket): "both sockets",
    frozenset({Socket.SIGN}): "sign.sock",
    frozenset({Socket.ADMIN}): "admin.sock",
}


def word_for(type_: inspect.Type) -> str:
    """How the document writes a type."""
    for name, named in NAMED.items():
        if inspect.type_info(named) == type_:
            return name
    match type_:
        case inspect.StructType(cls=cls):
            return str(cls.__name__)
        case inspect.UnionType(types=types):
            return " or ".join(map(word_for, types))
        case inspect.VarTupleType(item_type=item, max_length=longest):
            return f"list of {word_for(item)}" + (f", at most {longest}" if longest else "")
        case inspect.DictType(key_type=key, value_type=value):
            return f"map of {word_for(key)} to {word_for(value)}"
    return _plain_word(type_)


def _plain_word(type_: inspect.Type) -> str:
    match type_:
        case inspect.StrType(pattern=None, min_length=least, max_length=most):
            return "text" + _range(least, most, " characters")
        case inspect.BytesType(min_length=least, max_length=most):
            return "bytes" + _range(least, most, " long")
        case inspect.IntType(ge=least, le=most):
            return "integer" + _range(least, most, "")
        case inspect.BoolType():
            return "boolean"
        case inspect.NoneType():
            return "nil"
    raise AssertionError(f"the document has no word for {type_}")


def _range(least: int | None, most: int | None, unit: str) -> str:
    if least is None and most is None:
        return ""
    if least is None:
        return f", at most {most}{unit}"
    return f", {least} or more{unit}" if most is None else f", {least} to {most}{unit}"


def default_of(field: inspect.Field) -> str:
    if field.required:
        return ""
    match field.default:
        case None:
            return "nil"
        case bool() as value:
            return str(value).lower()
        case bytes() as value if value == bytes(32):
            return "32 zero bytes"
        case ():
            return "empty"
        case value:
            return str(value)


def fields_of(kind: type[Message]) -> list[tuple[str, str, str]]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return [(field.name, word_for(field.type), default_of(field)) for field in info.fields]


def structs_within(kind: type[Message]) -> Iterator[type[Message]]:
    """The maps that stand inside a message."""

    def walk(type_: inspect.Type) -> Iterator[type[Any]]:
        match type_:
            case inspect.StructType(cls=cls, fields=fields):
                yield cls
                for field in fields:
                    yield from walk(field.type)
            case inspect.UnionType(types=types):
                for one in types:
                    yield from walk(one)
            case inspect.VarTupleType(item_type=item):
                yield from walk(item)

    yield from list(walk(inspect.type_info(kind)))[1:]


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    _, _, rest = DOCUMENT.partition(f"\n{heading}\n")
    assert rest, f"docs/protocol.md has no heading {heading!r}"
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a section's table, without its head; code marks and escapes taken off."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines[2:]]
    return [[cell.strip().replace("`", "").replace("\\|", "|") for cell in row] for row in cells]


@pytest.mark.parametrize("op", OPERATIONS)
def test_the_table_of_each_operation_has_its_fields_types_and_defaults(op: str) -> None:
    row = OPERATIONS[op]
    expected = [["→", *field] for field in fields_of(row.request)] + [["←", *field] for field in fields_of(row.reply)]
    assert [cells[:4] for cells in rows(section(f"### `{op}`, on {SOCKETS[row.sockets]}"))] == expected


def test_the_operations_of_the_document_are_those_of_the_table() -> None:
    assert re.findall(r"^### `(\w+)`, on", DOCUMENT, re.MULTILINE) == list(OPERATIONS)


def test_the_maps_within_messages_are_described_with_their_fields() -> None:
    kinds = {
        inner for row in OPERATIONS.values() for kind in (row.request, row.reply) for inner in structs_within(kind)
    }
    assert set(re.findall(r"^### (\w+)$", DOCUMENT, re.MULTILINE)) == {kind.__name__ for kind in kinds}
    for kind in kinds:
        expected = [list(field) for field in fields_of(kind)]
        assert [cells[:3] for cells in rows(section(f"### {kind.__name__}"))] == expected


def test_the_named_types_have_the_limits_that_the_document_says() -> None:
    said = {name: limits for name, _, limits, *_ in rows(section("## Types"))}
    for name, named in NAMED.items():
        info = inspect.type_info(named)
        match info:
            case inspect.StrType(pattern=str() as pattern):
                assert said[name] == pattern.removesuffix("$").removesuffix(r"\Z").removeprefix("^")
            case inspect.StrType() | inspect.BytesType() | inspect.IntType():
                assert said[name] == _plain_word(info).partition(", ")[2]
            case _:
                raise AssertionError(info)
    assert set(said) == set(NAMED)


def test_the_error_codes_are_the_closed_list() -> None:
    assert [cells[0] for cells in rows(section("## Error codes"))] == [str(code) for code in ErrorCode]


def test_the_limits_are_those_of_the_code() -> None:
    assert {cells[0]: int(cells[1].replace(",", "")) for cells in rows(section("## Limits"))} == {
        "protocol version": messages.PROTOCOL_VERSION,
        "bytes of a frame's body": wire.FRAME_BYTES_MAX,
        "items of one array or map": wire.CONTAINER_MAX,
        "largest id": wire.ID_MAX,
        "characters of a refusal's detail": wire.DETAIL_MAX,
        "connections to sign.sock": connection.CONNECTIONS_MAX[Socket.SIGN],
        "connections to admin.sock": connection.CONNECTIONS_MAX[Socket.ADMIN],
        "connections to admin.sock, for root and the signer's user": (
            connection.CONNECTIONS_MAX[Socket.ADMIN] + connection.RESERVED
        ),
        "seconds from the connection to the end of the hello": connection.HELLO_SECONDS,
        "seconds from a frame's first byte to its last": connection.FRAME_SECONDS,
        "seconds for a reply to be taken": connection.REPLY_SECONDS,
        "revoke_own a second that changes nothing": IN_VAIN_MAX,
        "connections that wait while the signer restarts": daemon.BACKLOG,
    }


# --- the example ----------------------------------------------------------------------------------


def example(heading: str) -> list[tuple[str, bytes]]:
    """Who says what: the lines of a code block, "C:" the client and "S:" the signer, in hex; the rest is comment."""
    [block] = re.findall(r"^```\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    said: list[tuple[str, bytes]] = []
    for line in block.splitlines():
        who, octets = line[:2], bytes.fromhex(line[2:].partition("#")[0])
        if who.strip():
            said.append((who, octets))
        else:
            said[-1] = (said[-1][0], said[-1][1] + octets)
    return said


def test_the_example_is_what_a_real_signer_says_byte_for_byte() -> None:
    with Signer() as signer, RawPeer(signer.sign_path, greet=False) as peer:
        for who, octets in example("## An example"):
            if who == "C:":
                peer.send(octets)
            else:
                assert peer.receive_bytes(len(octets)).hex() == octets.hex()
        assert peer.is_closed()


def test_the_example_of_an_issue_request_is_what_the_project_s_client_sends() -> None:
    [(who, octets)] = example("### A request with fields")
    assert who == "C:"
    request = messages.IssueRequest(csr=bytes.fromhex("3003020100"), client="web1", lifetime=86_400)
    sent = wire.encode_request("issue", 2, request)
    # The client sends every field; the example leaves out those that have their default.
    assert wire.decode_request(octets[4:]) == wire.decode_request(sent[4:])
    assert len(octets) == 4 + int.from_bytes(octets[:4], "big")


def test_the_client_tries_as_often_as_the_document_says() -> None:
    assert f"tries {client.ATTEMPTS} new connections" in " ".join(DOCUMENT.split())


def test_there_are_these_error_codes_and_no_others() -> None:
    assert " ".join(ErrorCode) == (
        "bad_request bad_csr weak_key not_authorized policy_denied unknown_profile quota_exceeded frozen not_found"
        " conflict busy unavailable internal"
    )


def test_each_operation_has_its_name_on_both_sides_of_the_wall_as_messages_says() -> None:
    client = {name.removeprefix("ask_") for name in vars(SignerClient) if name.startswith("ask_")}
    assert set(OPERATIONS) == client | {"hello"}
    assert set(OPERATIONS) == set(ANSWERS) | {"issue"}
    named = re.findall(r"``operations\.answer_(\w+)``", messages.__doc__ or "")
    assert named
    assert set(named) <= set(ANSWERS)
