"""The PEM armour: one strict block in, DER out, and back."""

import base64
import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.pem import (
    CSR_LABELS,
    PemError,
    PrivateKeyFound,
    decode_csr,
    decode_one,
    encode,
    encode_certificates,
)

DER = bytes(range(200))
BLOCK = encode(DER, "CERTIFICATE REQUEST").encode()
BODY = BLOCK.split(b"-----")[2]


def assert_refused(text: bytes, why: str) -> None:
    with pytest.raises(PemError, match=why):
        decode_csr(text)


@given(st.binary(min_size=1, max_size=5000))
def test_what_was_encoded_decodes_to_the_same_bytes(der: bytes) -> None:
    assert decode_csr(encode(der, "CERTIFICATE REQUEST").encode()) == der


@given(st.binary(max_size=300) | st.text(alphabet="-BEGINCRTFQUSD \n\r+/=aZ9", max_size=300).map(str.encode))
def test_garbage_decodes_or_raises_pem_error_and_nothing_else(text: bytes) -> None:
    with contextlib.suppress(PemError):
        decode_csr(text)


def test_the_block_is_the_one_that_openssl_writes(tmp_path: Path) -> None:
    key, csr = tmp_path / "key.pem", tmp_path / "csr.pem"
    command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*command, "-subj", "/CN=a.example.net", "-keyout", key, "-out", csr], check=True, capture_output=True
    )
    der = subprocess.run(["openssl", "req", "-in", csr, "-outform", "DER"], check=True, capture_output=True).stdout
    assert decode_csr(csr.read_bytes()) == der
    assert encode(der, "CERTIFICATE REQUEST") == csr.read_text()


@pytest.mark.parametrize("label", CSR_LABELS)
def test_both_labels_of_a_csr_are_taken(label: str) -> None:
    assert decode_csr(encode(DER, label).encode()) == DER


@pytest.mark.parametrize(
    "text",
    [
        BLOCK.replace(b"\n", b"\r\n"),
        b"\r\n \t" + BLOCK + b" \n\n",
        BLOCK.rstrip(b"\n"),
        BLOCK.replace(BODY, b"\n" + base64.b64encode(DER) + b"\n"),
        BLOCK.replace(BODY, BODY.replace(b"\n", b" \t\n")),
    ],
    ids=["CRLF", "white space around", "no newline at the end", "one long line", "blanks at line ends"],
)
def test_white_space_does_not_matter(text: bytes) -> None:
    assert decode_csr(text) == DER


def test_a_text_with_two_blocks_is_refused() -> None:
    assert_refused(BLOCK + BLOCK, "more than one PEM block")


@pytest.mark.parametrize("text", [b"x\n" + BLOCK, BLOCK + b"x", b"\xef\xbb\xbf" + BLOCK, BLOCK + b"\0", b"\v" + BLOCK])
def test_anything_but_white_space_around_the_block_is_refused(text: bytes) -> None:
    assert_refused(text, "before or after")


def test_a_text_without_a_block_is_refused() -> None:
    assert_refused(b"hello", "no PEM block")
    assert_refused(b"", "no PEM block")


def test_a_block_of_another_kind_is_refused_and_both_kinds_are_named() -> None:
    assert_refused(encode(DER, "CERTIFICATE").encode(), "is a CERTIFICATE, not a CERTIFICATE REQUEST")


def test_a_block_whose_end_names_another_label_is_refused() -> None:
    assert_refused(BLOCK.replace(b"END CERTIFICATE REQUEST", b"END CERTIFICATE"), "differ")


def test_a_block_without_its_end_is_refused() -> None:
    assert_refused(BLOCK[: BLOCK.index(b"-----END")], "its end is missing")


def test_a_block_that_lost_its_line_breaks_is_refused_with_the_way_to_keep_them() -> None:
    assert_refused(BLOCK.replace(b"\n", b""), "--data-binary")


@pytest.mark.parametrize("bad", [b"AAAA=AAA", b"AAA", b"A===", b"AA=A", b"====", b"AAAA====", b"AAB="])
def test_bad_base64_is_refused(bad: bytes) -> None:
    assert_refused(BLOCK.replace(BODY, b"\n" + bad + b"\n"), "bad base64")


@pytest.mark.parametrize("bad", [b"AA*A", "AAÄA".encode(), b"AA\0A", b"Proc-Type: 4,ENCRYPTED\n\nAAAA"])
def test_characters_outside_base64_and_headers_are_refused(bad: bytes) -> None:
    assert_refused(BLOCK.replace(BODY, b"\n" + bad + b"\n"), "malformed")


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
@pytest.mark.parametrize("before", [True, False])
def test_a_private_key_beside_the_csr_is_found(kind: str, before: bool) -> None:
    key = encode(DER, kind).encode()
    with pytest.raises(PrivateKeyFound):
        decode_csr(key + BLOCK if before else BLOCK + key)


def test_an_error_quotes_nothing_of_the_text() -> None:
    with pytest.raises(PemError) as caught:
        decode_csr(b"hunter2 " + BLOCK)
    assert "hunter2" not in str(caught.value)


def test_certificates_are_written_one_after_the_other() -> None:
    text = encode_certificates([DER, b"second"])
    first, second = text.split("-----END CERTIFICATE-----\n")[:2]
    assert decode_one((first + "-----END CERTIFICATE-----\n").encode(), ("CERTIFICATE",)) == DER
    assert decode_one((second + "-----END CERTIFICATE-----\n").encode(), ("CERTIFICATE",)) == b"second"
    assert max(map(len, text.splitlines())) == 64
