"""nginx with TLS in front of a stack: the configuration that signerd ships, changed where a benchmark has to.

What is changed, and nothing else: addresses, ports and paths; the limits on the rate of requests, for here all
requests come from one address; and, for cfssl, what nginx proxies to. TLS's certificate, for a P-256 key, is by the
CA itself.
"""

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.stacks import Stack, free_port, ours, process, wait_for_port
from protocol.client import SignerClient
from protocol.messages import IssueRequest
from protocol.pem import CERTIFICATE_LABEL, encode

_SHIPPED = Path(__file__).parents[1] / "systemd/nginx/signerd"

# As Debian's nginx.conf has it: as many workers as cores, an access log.
_AROUND = """
daemon off;
user {user};
worker_processes auto;
pid {state}/nginx.pid;
error_log {state}/nginx.log;
events {{ worker_connections 768; }}
http {{
  sendfile on;
  tcp_nopush on;
  access_log {state}/access.log;
  client_body_temp_path {state}/body;
  proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi;
  scgi_temp_path {state}/scgi;
  {site}
}}
"""


def make_tls_certificate(ca: Path, work: Path) -> None:
    """Has a signer issue the certificate for TLS: ``ca/tls.pem`` and ``ca/tls.key``."""
    csr = ca / "tls.csr"
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-outform", "DER",
         "-keyout", str(ca / "tls.key"), "-out", str(csr), "-subj", "/CN=ca.example.net",
         "-addext", "subjectAltName=DNS:ca.example.net"],
        check=True, capture_output=True,
    )  # fmt: skip
    with ours(ca, work) as stack, contextlib.closing(SignerClient(f"{stack.state}/sign.sock")) as client:
        reply = client.ask_issue(IssueRequest(csr=csr.read_bytes(), client="nginx"))
    (ca / "tls.pem").write_text(encode(reply.certificate, CERTIFICATE_LABEL))


@contextlib.contextmanager
def behind_nginx(stack: Stack, upstream: str, ca: Path) -> Iterator[Stack]:
    """The stack by way of nginx: https in place of http. ``upstream``: as nginx names a server of it."""
    port, state = free_port(), stack.state
    configuration = state / "nginx.conf"
    configuration.write_text(_configuration(upstream, port, ca, state))
    with process(["nginx", "-c", str(configuration), "-p", str(state)], state / "nginx.out") as nginx:
        wait_for_port(port, [nginx], state / "nginx.out")
        path = "/".join(stack.url.split("/")[3:])
        yield dataclasses.replace(
            stack, url=f"https://127.0.0.1:{port}/{path}", processes={**stack.processes, "nginx": nginx}
        )


def _configuration(upstream: str, port: int, ca: Path, state: Path) -> str:
    changes = {
        "server unix:/run/ca-frontend/http.sock fail_timeout=0;": f"server {upstream} fail_timeout=0;",
        "zone=signerd_api:10m rate=10r/s;": "zone=signerd_api:10m rate=100000r/s;",
        "zone=signerd_public:10m rate=100r/s;": "zone=signerd_public:10m rate=100000r/s;",
        # Its clock goes by milliseconds, and the requests of one of them are a burst, whatever the rate.
        "limit_req zone=signerd_api burst=50 nodelay;": "limit_req zone=signerd_api burst=100000 nodelay;",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "listen [::]:443 ssl http2;": "",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen [::]:80;": "",
        "ssl_certificate /etc/nginx/signerd/tls.pem;": f"ssl_certificate {ca}/tls.pem;",
        "ssl_certificate_key /etc/nginx/signerd/tls.key;": f"ssl_certificate_key {ca}/tls.key;",
    }
    site = _SHIPPED.read_text(encoding="utf-8")
    for shipped, ours_instead in changes.items():
        if site.count(shipped) != 1:
            raise RuntimeError(
                f"{_SHIPPED} has {shipped!r} {site.count(shipped)} times: bench/nginx.py expects it once"
            )
        site = site.replace(shipped, ours_instead)
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    return _AROUND.format(user=user, state=state, site=site)
