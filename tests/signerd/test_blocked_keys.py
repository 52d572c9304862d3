"""Large lists of keys that get no certificate: looked up in their files, in each form that there is."""

import hashlib
import os
import random
import re
import subprocess
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import ConfigurationError, ErrorCode, Refused
from signerd.policy.blocked import read_blocked_keys
from signerd.policy.sorted_records import Form, open_sorted_records
from tests.authorities import local_authority
from tests.commands import ROOT
from tests.csrs import make_csr, private_key, spki_of

KINDS = ("rsa2048", "p256", "p384", "ed25519")
chance = random.Random(11)  # noqa: S311 - nothing secret


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hashes_file(path: Path, spkis: Iterable[bytes], more: int = 0) -> Path:
    """A ``.bin`` with these keys among others."""
    path.write_bytes(b"".join(sorted([*map(digest, spkis), *(chance.randbytes(32) for _ in range(more))])))
    return path


def number_of(kind: str) -> int:
    """What badkeys takes a key for: its modulus, its x-coordinate, or its octets as a number."""
    key = private_key(kind).public_key()
    if isinstance(key, RSAPublicKey):
        return key.public_numbers().n
    if isinstance(key, EllipticCurvePublicKey):
        return key.public_numbers().x
    return int.from_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw), "big")


def badkeys_file(path: Path, kinds: Iterable[str], more: int = 0) -> Path:
    """A ``.dat`` as badkeys makes it: 15 bytes of the hash of the number without leading zeros, and a list's id."""
    numbers = [number_of(kind) for kind in kinds]
    found = [digest(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in numbers]
    records = [*(one[:15] + b"\x07" for one in found), *(chance.randbytes(16) for _ in range(more))]
    path.write_bytes(b"".join(sorted(records)))
    return path


@pytest.mark.parametrize("more", [0, 1, 126, 127, 128, 255, 256, 5000])
def test_keys_of_each_kind_are_found_in_each_form_and_no_others(tmp_path: Path, more: int) -> None:
    listed, others = KINDS[:2], KINDS[2:]
    for path in (
        hashes_file(tmp_path / "a.bin", [spki_of(private_key(kind)) for kind in listed], more),
        badkeys_file(tmp_path / "blocklist.dat", listed, more),
    ):
        keys = read_blocked_keys([path])
        assert len(keys) == 2 + more
        assert all(spki_of(private_key(kind)) in keys for kind in listed)
        assert not any(spki_of(private_key(kind)) in keys for kind in others)


def test_each_record_of_a_file_is_found_and_nothing_between_them(tmp_path: Path) -> None:
    for size in (0, 1, 2, 255, 256, 257, 3000):
        records = sorted(chance.randbytes(16) for _ in range(size))
        path = tmp_path / f"{size}.dat"
        path.write_bytes(b"".join(records))
        found = open_sorted_records(path, Form(16, 15))
        assert len(found) == size
        for record in records:
            assert found.has(record[:15])
            flipped = record[:14] + bytes([record[14] ^ 1])
            assert found.has(flipped) == any(one.startswith(flipped) for one in records)


def test_records_that_have_their_beginning_in_common_are_found_across_pages(tmp_path: Path) -> None:
    records = [bytes(8) + number.to_bytes(24, "big") for number in range(1, 2000, 2)]
    (tmp_path / "same.bin").write_bytes(b"".join(records))
    found = open_sorted_records(tmp_path / "same.bin", Form(32, 32))
    assert all(found.has(record) for record in records)
    assert not any(found.has(bytes(8) + number.to_bytes(24, "big")) for number in range(0, 2002, 2))


def test_an_ed25519_key_that_begins_with_zeros_is_found_as_badkeys_spells_it(tmp_path: Path) -> None:
    spki = bytes.fromhex("302a300506032b6570032100") + b"\0\0" + bytes(range(1, 31))
    (tmp_path / "blocklist.dat").write_bytes(digest(spki[-30:])[:15] + b"\x01")
    assert spki in read_blocked_keys([tmp_path / "blocklist.dat"])


def test_several_lists_are_one_and_none_of_their_keys_gets_a_certificate(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(digest(spki_of(private_key("ed25519"))).hex() + "\n")
    paths = [
        lines,
        hashes_file(tmp_path / "a.bin", [spki_of(private_key("p256"))], 300),
        badkeys_file(tmp_path / "blocklist.dat", ["rsa2048"], 600),
    ]
    setting = ", ".join(f"'{path}'" for path in paths)
    with local_authority(tmp_path, f"blocked_keys = [{setting}]\n") as local:
        codes = {kind: local.code(make_csr(key=private_key(kind))) for kind in KINDS}
        assert codes.pop("p384") is None
        assert set(codes.values()) == {ErrorCode.WEAK_KEY}
        assert len(local.authority.policy.blocked_keys) == 1 + 301 + 601


def test_a_list_that_was_replaced_or_written_to_is_noticed_at_a_reload_and_one_that_was_not_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hashes_file(tmp_path / "a.bin", [spki_of(private_key("p256"))], 1000)
    with local_authority(tmp_path, f"blocked_keys = '{path}'\n") as local:
        before = local.authority.policy.hash
        with monkeypatch.context() as patched:
            patched.setattr("signerd.policy.sorted_records.SortedRecords._take", lambda *_: pytest.fail("read again"))
            local.authority.reload(local.now)
        assert local.authority.policy.hash == before
        hashes_file(tmp_path / "new", [spki_of(private_key("p384"))], 1000).rename(path)
        assert local.code(make_csr(key=private_key("p256"))) is ErrorCode.WEAK_KEY  # until then the old one counts
        local.authority.reload(local.now)
        assert local.authority.policy.hash != before
        assert local.code(make_csr(key=private_key("p256"))) is None
        assert local.code(make_csr(key=private_key("p384"))) is ErrorCode.WEAK_KEY
        hashes_file(path, [spki_of(private_key("p256"))], 1000)
        local.authority.reload(local.now)
        assert local.code(make_csr(key=private_key("p384"))) is None


def test_a_file_that_was_cut_off_refuses_requests_and_never_ends_the_signer(tmp_path: Path) -> None:
    path = hashes_file(tmp_path / "a.bin", [], 5000)
    with local_authority(tmp_path, f"blocked_keys = '{path}'\n") as local:
        os.truncate(path, 0)
        refusal = local.refusal(make_csr(key=private_key("p256")))
        assert refusal.code is ErrorCode.UNAVAILABLE
        assert "cut off" in refusal.detail
        local.authority.reload(local.now)
        assert local.code(make_csr(key=private_key("p256"))) is None


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.bin", b"b" * 32 + b"a" * 32, "it is not sorted: see record 1"),
        ("a.bin", b"a" * 32 * 40_000 + b"b" * 32 + b"a" * 32, "it is not sorted: see record 40001"),
        ("a.dat", b"b" * 16 + b"a" * 16, "it is not sorted: see record 1"),
        ("a.bin", b"a" * 31, "its size is no multiple of 32 bytes"),
        ("a.dat", b"a" * 24, "its size is no multiple of 16 bytes"),
        ("a.bin", b"a" * 64 + b"\n", "its size is no multiple of 32 bytes"),
    ],
)
def test_a_file_that_is_not_in_order_or_of_another_form_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as refused, local_authority(tmp_path, f"blocked_keys = '{tmp_path / name}'"):
        pass
    assert f"signer.blocked_keys: {tmp_path / name}: {why}" in str(refused.value)


def test_a_list_that_others_may_write_to_is_refused_whatever_its_form(tmp_path: Path) -> None:
    for name in ("a.bin", "a.dat", "lines"):
        path = tmp_path / name
        path.write_bytes(b"")
        path.chmod(0o666)
        with pytest.raises(ValueError, match="may be written by others"):
            read_blocked_keys([path])
    os.mkfifo(tmp_path / "fifo.bin")
    with pytest.raises(ValueError, match="no regular file"):
        read_blocked_keys([tmp_path / "fifo.bin"])


def test_a_list_takes_no_memory_to_speak_of_and_a_look_up_reads_one_page(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    step = 2**256 // 500_000
    with path.open("wb") as file:
        for number in range(500_000):  # 16 MB, in order
            file.write((number * step).to_bytes(32, "big"))
    tracemalloc.start()
    found = open_sorted_records(path, Form(32, 32))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 16_000_000 // 100
    assert all(found.has((number * step).to_bytes(32, "big")) for number in range(0, 500_000, 999))
    assert not found.has((step + 1).to_bytes(32, "big"))


def test_the_documents_commands_make_a_sorted_file_of_lines_and_of_an_unsorted_file(tmp_path: Path) -> None:
    document = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    section = document.partition("#### Blocked keys\n")[2].partition("\n### ")[0]
    from_lines, from_unsorted = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    hashes = [chance.randbytes(32) for _ in range(500)]
    (tmp_path / "leaked.txt").write_text("# leaked\n\n" + "".join(f" {one.hex()}  # x\n" for one in hashes) * 2)
    (tmp_path / "unsorted.bin").write_bytes(b"".join(hashes))
    for commands, result in ((from_lines, "leaked.bin"), (from_unsorted, "sorted.bin")):
        subprocess.run(["sh", "-eu", "-c", commands], cwd=tmp_path, check=True)
        assert (tmp_path / result).read_bytes() == b"".join(sorted(hashes))
        assert len(read_blocked_keys([tmp_path / result])) == 500


def test_a_refusal_names_no_path(tmp_path: Path) -> None:
    path = hashes_file(tmp_path / "a.bin", [], 200)
    keys = read_blocked_keys([path])
    os.truncate(path, 4)
    with pytest.raises(Refused) as refused:
        _ = spki_of(private_key("p256")) in keys
    assert str(tmp_path) not in refused.value.detail
