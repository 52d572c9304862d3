"""The one spelling that each host, address, mailbox and URI has here.

A second spelling of one name is the oldest way around a rule: upper case, an address in the form of a name, ``..``
or ``%2e`` in a path. So each function here returns the canonical spelling of the text that it is given, or
raises ValueError with a sentence that quotes it.
"""

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

import idna

HOST_MAX = 253  # RFC 1035, 2.3.4: 255 octets on the wire
MAILBOX_MAX = 254  # RFC 5321, 4.5.3.1.3: 256 octets with the angle brackets
LOCAL_PART_MAX = 64  # RFC 5321, 4.5.3.1.1
URI_MAX = 2048
QUOTED_MAX = 80

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # LDH, 63 octets: RFC 1123, 2.1
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_ATOM = r"[A-Za-z0-9!#$%&'+/=?^_`{|}~-]+"  # RFC 5322, 3.2.3, but for "*", which readers take for a wildcard
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")  # what inet_aton(3) and browsers read as a part of an address
_A_LABEL = re.compile(r"xn--[a-z0-9-]*")
A_LABELS_MAX = 1024  # characters of different A-labels among the names of one CSR; each takes up to 5 µs to check
_A_LABELS_KEPT = 1024


def quoted(text: str) -> str:
    """``text`` in quotes, fit for a log and a reply: printable ASCII, and cut where it is long."""
    return ascii(text) if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]!a} (cut)"


def host(text: str) -> str:
    """The DNS name ``text``, without a wildcard, in lower case: LDH labels and A-labels (RFC 5890, 2.3)."""
    name = text.lower() if text.isascii() else ""
    if len(text) > HOST_MAX:
        raise ValueError(f"{quoted(text)} is longer than a DNS name's {HOST_MAX} characters")
    if not _HOST.fullmatch(name):
        raise ValueError(f"{quoted(text)} is not a DNS name: labels are 1 to 63 letters, digits and inner hyphens")
    if is_numeric(name):
        raise ValueError(f"{quoted(text)} is not a DNS name: its last label is a number")
    if "--" in name:
        for label in name.split("."):
            if label[2:4] == "--" and not _is_a_label(label):
                raise ValueError(f"{quoted(text)} is not a DNS name: {quoted(label)} is not an A-label")
    return name


def is_numeric(name: str) -> bool:
    """Whether the last label is a number, as in no name but in every IPv4 address (RFC 1123, 2.1). What programs take
    for an address is wider than RFC 1123 has it: ``0x7f000001`` and ``127.0.0.0x1`` are 127.0.0.1 to inet_aton(3), and
    to browsers each host is an address whose last label is decimal, octal or hexadecimal (WHATWG URL, 3.5)."""
    begin = name.rfind(".") + 1
    return name[begin : begin + 1].isdigit() and _NUMBER.fullmatch(name, begin) is not None


def refuse_many_a_labels(names: Iterable[str]) -> None:
    """Bounds what the names of one CSR can cost before any is looked at: a punycode decoder compares and moves every
    character, and RFC 5891's tables are asked about each. The same label again costs nothing."""
    lower = " ".join(names).lower()
    if "xn--" in lower and sum(map(len, set(_A_LABEL.findall(lower)))) > A_LABELS_MAX:
        raise ValueError(f"the names have more than {A_LABELS_MAX} characters of different A-labels (xn--...)")


@functools.lru_cache(_A_LABELS_KEPT)
def _is_a_label(label: str) -> bool:
    """Whether ``label``, of at most 63 characters, is the one A-label of a valid Unicode label (RFC 5891, 5.4)."""
    if not label.startswith("xn--"):
        return False
    try:
        idna.ulabel(label)  # which also sees to it that there is no other spelling (RFC 5890, 2.3.2.1)
    except (UnicodeError, OverflowError):  # an IDNAError is a UnicodeError; a code point may be above 2**31
        return False
    return True


def address(text: str) -> str:
    """The IPv4 or IPv6 address ``text`` as RFC 5952 spells it.

    An IPv4-mapped IPv6 address is refused: it means an IPv4 address, and would pass by the rules for those.
    """
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            raise ValueError(f"{quoted(text)} has a zone, which means something on one host alone")
        if parsed.ipv4_mapped is not None:
            raise ValueError(f"{quoted(text)} is an IPv4-mapped IPv6 address; ask for {parsed.ipv4_mapped}")
    return str(parsed)


def mailbox(text: str) -> str:
    """The mailbox ``text`` (RFC 5280, 4.2.1.6): a dot-atom as it is, since its case may matter (RFC 5280, 7.5),
    ``@``, and a host in lower case."""
    local, at, domain = text.rpartition("@")
    if not at or len(text) > MAILBOX_MAX or len(local) > LOCAL_PART_MAX or not _LOCAL_PART.fullmatch(local):
        raise ValueError(f"{quoted(text)} is not an e-mail address of the form name@host")
    return f"{local}@{host(domain)}"


_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?]*))?([^?]*)(?:\?(.*))?")  # RFC 3986, appendix B
_PATH_OR_QUERY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")  # RFC 3986, 3.3 and 3.4
_PERCENT = re.compile("%..")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
# What may stand as it is has no second, percent-encoded spelling here; encoded separators, percent signs and
# control characters mean different things to different readers.
_NEVER_ENCODED = frozenset(
    f"%{octet:02X}"
    for octet in range(0x80)
    if octet < 0x20 or octet == 0x7F or chr(octet).isalnum() or chr(octet) in "-._~!$&'()*+,;=:@/\\%"
)


class Uri(NamedTuple):
    """The parts of an absolute URI in normal form; ``host`` and ``port`` are empty where it has none."""

    scheme: str
    host: str
    port: str
    path: str
    query: str | None

    def __str__(self) -> str:
        authority = f"//{self.host}" if self.host else ""
        port = f":{self.port}" if self.port else ""
        query = "" if self.query is None else f"?{self.query}"
        return f"{self.scheme}:{authority}{port}{self.path}{query}"


def uri(text: str) -> Uri:
    """The absolute URI ``text`` (RFC 3986; RFC 5280, 4.2.1.6), scheme and host in lower case.

    Refused are user information, fragments, an empty host, and each second spelling of a path: ``.``, ``..``,
    ``//``, and percent-encoded characters that need no encoding.
    """
    match = _URI.fullmatch(text) if len(text) <= URI_MAX else None
    if match is None:
        raise ValueError(f"{quoted(text)} is not an absolute URI of at most {URI_MAX} characters")
    scheme, authority, path, query = match[1].lower(), match[2], match[3], match[4]
    if not _PATH_OR_QUERY.fullmatch(path) or not _PATH_OR_QUERY.fullmatch(query or ""):
        raise ValueError(f"{quoted(text)} has a fragment or a character that a URI can't have")
    path, query = _upper_percents(path), query and _upper_percents(query)
    if not _NEVER_ENCODED.isdisjoint(_PERCENT.findall(f"{path} {query}")):
        raise ValueError(f"{quoted(text)} has a percent-encoded character that must not be encoded")
    segments = path.removeprefix("/").split("/")
    if not {".", ".."}.isdisjoint(segments) or "" in segments[:-1]:
        raise ValueError(f"{quoted(text)} has a path that is not in normal form")
    if authority is None and (scheme in _DEFAULT_PORTS or not path):
        raise ValueError(f"{quoted(text)} has no host")
    named, port = ("", "") if authority is None else _authority(scheme, authority, text)
    return Uri(scheme, named, port, path, query)


def _upper_percents(text: str) -> str:
    return _PERCENT.sub(lambda match: match[0].upper(), text)  # RFC 3986, 6.2.2.1


def _authority(scheme: str, text: str, whole: str) -> tuple[str, str]:
    """Host and port; no port if it is the scheme's own."""
    if "@" in text:
        raise ValueError(f"{quoted(whole)} has user information before its host")
    named, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        named, port = text, ""
    elif not (_PORT.fullmatch(port) and int(port) < 65536):
        raise ValueError(f"{quoted(whole)} has a port that is not a number from 1 to 65535")
    if named.startswith("[") and named.endswith("]") and ":" in named:
        named = f"[{address(named[1:-1])}]"
    else:
        named = address(named) if is_numeric(named) else host(named)
    return named, "" if port == _DEFAULT_PORTS.get(scheme) else port
