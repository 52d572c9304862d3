"""ca_admin doctor: the frontend, and what comes through nginx: the CA's certificate, and nginx's own."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.times import rfc3339
from signerd.commands.finding import Finding, Level, output_of, text_of
from signerd.identity import CERTIFICATE_NAMES

_DAY = 86_400
_RENEW_DAYS = 21  # before its end: what renews it in time does so earlier, so by then it doesn't work
_RENEW_NGINX = (
    "systemctl enable --now ca-renew-nginx.timer; systemctl start ca-renew-nginx; if that fails: "
    "journalctl --unit ca-renew-nginx; where another CA issued it: renew it there"
)
_GET = ("curl", "--silent", "--fail", "--max-time", "10")


def check_http(base_url: str | None, identity: Path, *, by_systemd: bool) -> Iterator[Finding]:
    """The frontend answers, and what certificates point to is served."""
    if text_of("curl", "--version") is None:
        yield Finding("http", Level.UNKNOWN, "curl isn't there", "apt install curl")
        return
    if by_systemd:
        yield _frontend()
    if base_url is None:
        return
    served = output_of(*_GET, f"{base_url}/ca.der")
    who = "nginx" if by_systemd else "http"
    if served is None:
        detail = f"{base_url}/ca.der, which certificates point to, can't be fetched from here"
        advice = (
            f"systemctl status nginx; nginx -t; {_resolution(base_url)}" if by_systemd else "is ca_frontend running?"
        )
        yield Finding(who, Level.PROBLEM, detail, advice)
    elif served != _own_certificate(identity):
        detail = f"{base_url}/ca.der is not this CA's certificate"
        yield Finding(who, Level.PROBLEM, detail, f"does that name lead here? {_resolution(base_url)}")
    else:
        yield Finding(who, Level.OK, f"{base_url}/ca.der is this CA's certificate")


def _frontend() -> Finding:
    if output_of(*_GET, "--unix-socket", "/run/ca-frontend/http.sock", "http://localhost/healthz") is None:
        return Finding("http", Level.PROBLEM, "the frontend does not answer", "systemctl status ca-frontend says why")
    return Finding("http", Level.OK, "the frontend answers")


def check_tls(base_url: str | None, now: int) -> Iterator[Finding]:
    """The certificate that nginx shows to clients has not ended, and does not end soon."""
    if base_url is None:
        return
    host = urlsplit(base_url).hostname
    shown = output_of("openssl", "s_client", "-connect", f"{host}:443", "-servername", str(host))
    try:
        certificate = x509.load_pem_x509_certificate(shown or b"")
    except ValueError:
        yield Finding("tls", Level.UNKNOWN, f"{host}:443 shows no certificate", "systemctl status nginx; nginx -t")
        return
    end = int(certificate.not_valid_after_utc.timestamp())
    days = (end - now) // _DAY
    if end <= now:
        yield Finding("tls", Level.PROBLEM, f"nginx's own certificate has ended at {rfc3339(end)}", _RENEW_NGINX)
    elif days < _RENEW_DAYS:
        detail = f"nginx's own certificate ends at {rfc3339(end)}, in {days} days"
        yield Finding("tls", Level.WARNING, detail, _RENEW_NGINX)
    else:
        yield Finding("tls", Level.OK, f"nginx's own certificate is valid until {rfc3339(end)}, {days} days")


def _resolution(base_url: str) -> str:
    host = urlsplit(base_url).hostname or ""
    try:
        return f"{host} is {socket.gethostbyname(host)}"
    except OSError:
        return f"{host} has no address: enter it into DNS"


def _own_certificate(identity: Path) -> bytes | None:
    for name in CERTIFICATE_NAMES:
        if (path := identity / name).exists():
            return x509.load_pem_x509_certificates(path.read_bytes())[0].public_bytes(Encoding.DER)
    return None
