"""Those who rely on certificates, each a real one: a certificate is good, and revoked within ten seconds of
``ca_admin revoke``. The addresses are taken from the certificate itself."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ledger_million import build
from signerd.certificate import CRL_SHARD_CERTIFICATES
from tests.revocation.deployment import Certificate, Deployment, attempt, recipe, sh, soon
from tests.running import eventually
from tests.tls import free_port, listens, tls_server

# --- openssl ------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["-crl_check", "-crl_check_all"])
def test_openssl_verify_with_the_crl(deployment: Deployment, certificate: Certificate, check: str) -> None:
    def verify() -> "subprocess.CompletedProcess[str]":
        crl = certificate.fetch_crl()
        return attempt(
            f"openssl verify -x509_strict {check} -CRLfile {crl} -CAfile {certificate.ca} {certificate.path}"
        )

    assert verify().returncode == 0
    deployment.revoke(certificate)
    soon(lambda: "certificate revoked" in verify().stderr, "certificate revoked")
    assert verify().returncode != 0


def test_openssl_verify_that_fetches_the_crl_itself(deployment: Deployment, certificate: Certificate) -> None:
    command = f"openssl verify -crl_check -crl_download -CAfile {certificate.ca} {certificate.path}"
    assert attempt(command).returncode == 0
    deployment.revoke(certificate)
    soon(lambda: "certificate revoked" in attempt(command).stderr, "certificate revoked")


@pytest.mark.parametrize("option", ["", "-no_nonce", "-sha256"])
def test_openssl_ocsp(deployment: Deployment, certificate: Certificate, option: str) -> None:
    command = (
        f"openssl ocsp {option} -issuer {certificate.ca} -cert {certificate.path} -CAfile {certificate.ca}"
        f" -url {certificate.ocsp_url} 2>&1"
    )
    answer = sh(command)
    assert "Response verify OK" in answer
    assert f"{certificate.path}: good" in answer
    assert "WARNING" not in answer  # such as a nonce that did not come back
    deployment.revoke(certificate, "superseded")
    soon(lambda: f"{certificate.path}: revoked" in sh(command), "revoked")
    assert "Reason: superseded" in sh(command)


# --- GnuTLS -------------------------------------------------------------------------------------


def test_ocsptool(deployment: Deployment, certificate: Certificate) -> None:
    command = (
        f"ocsptool --ask --load-cert {certificate.path} --load-issuer {certificate.ca}"
        f" --load-trust {certificate.ca} 2>&1"
    )
    answer = attempt(command)
    assert answer.returncode == 0, answer.stdout
    assert "Certificate Status: good" in answer.stdout
    assert "Verifying OCSP Response: Success" in answer.stdout
    deployment.revoke(certificate)
    soon(lambda: "Certificate Status: revoked" in attempt(command).stdout, "revoked")


def test_certtool(deployment: Deployment, certificate: Certificate) -> None:
    def verify_crl() -> str:
        return sh(f"certtool --verify-crl --load-ca-certificate {certificate.ca} --infile {certificate.fetch_crl()}")

    def verify() -> str:
        crl = certificate.fetch_crl()
        return attempt(
            f"certtool --verify --load-ca-certificate {certificate.ca} --load-crl {crl} --infile {certificate.path}"
        ).stdout

    assert "Verified." in verify_crl()
    assert "Verified. The certificate is trusted." in verify()
    deployment.revoke(certificate)
    soon(lambda: "revoked" in verify(), "revoked")
    assert "Verified." in verify_crl()
    listing = sh(f"certtool --crl-info --infile {certificate.fetch_crl()}").lower()
    assert certificate.serial in listing


# --- curl ---------------------------------------------------------------------------------------


def test_curl_with_crlfile(deployment: Deployment, certificate: Certificate) -> None:
    with tls_server(certificate.path, certificate.key) as port:

        def get() -> int:
            crl = certificate.fetch_crl()
            url = f"https://localhost:{port}/"
            return attempt(f"curl -sS -o /dev/null --cacert {certificate.ca} --crlfile {crl} {url}").returncode

        assert get() == 0
        deployment.revoke(certificate)
        soon(lambda: get() == 60, "the certificate can't be verified")  # curl(1): 60


# --- nginx --------------------------------------------------------------------------------------


class Nginx:
    """nginx with one TLS server, whose certificate is a new one of the CA's."""

    def __init__(self, deployment: Deployment, directory: Path, settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        (directory / "own").mkdir()
        self.certificate = deployment.issue(directory / "own")
        # curl --cert-status finds the issuer only in what the server sends.
        chain = directory / "chain.pem"
        chain.write_text(self.certificate.path.read_text() + deployment.ca.read_text())
        self._config = directory / "nginx.conf"
        self._config.write_text(
            f"""
            daemon off;
            master_process on;
            pid {directory}/nginx.pid;
            error_log {directory}/error.log info;
            events {{ worker_connections 64; }}
            http {{
              access_log off;
              client_body_temp_path {directory}/body;
              proxy_temp_path {directory}/proxy;
              fastcgi_temp_path {directory}/fastcgi;
              uwsgi_temp_path {directory}/uwsgi;
              scgi_temp_path {directory}/scgi;
              server {{
                listen 127.0.0.1:{self.port} ssl;
                ssl_certificate {chain};
                ssl_certificate_key {self.certificate.key};
                {settings}
                location / {{ return 200 "$ssl_client_verify\\n"; }}
              }}
            }}
            """
        )

    @property
    def log(self) -> str:
        return (self.directory / "error.log").read_text(errors="replace")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._process = subprocess.Popen(
            ["nginx", "-c", str(self._config), "-e", f"{self.directory}/error.log"], stdin=subprocess.DEVNULL
        )
        try:
            eventually(lambda: self._process.poll() is not None or listens(self.port), "nginx listens")
            assert self._process.poll() is None, self.log
            yield
        finally:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def reload(self) -> None:
        """What an operator's timer does after it has fetched a CRL. For a moment old and new workers serve."""
        self._process.send_signal(signal.SIGHUP)
        eventually(lambda: "gracefully shutting down" in self.log, "the old worker serves no more")

    def get(self, client: Certificate) -> str:
        """What it says of a client with this certificate."""
        return sh(
            f"curl -sS --cacert {client.ca} --cert {client.path} --key {client.key} https://localhost:{self.port}/"
        )


def test_nginx_with_ssl_crl(deployment: Deployment, certificate: Certificate, tmp_path: Path) -> None:
    crl = certificate.fetch_crl()
    settings = f"ssl_client_certificate {deployment.ca}; ssl_verify_client optional; ssl_crl {crl};"
    nginx = Nginx(deployment, tmp_path, settings)
    names = {
        "http://ca.example.net": deployment.url,
        "/etc/nginx/ca.crt.pem": str(deployment.ca),
        "/etc/nginx/ca.crl.new": str(tmp_path / "crl.new"),
        "/etc/nginx/ca.crl": str(crl),
        "nginx -s reload": f"kill -HUP $(cat {tmp_path}/nginx.pid)",
    }
    fetch = recipe("Who asks", names)
    with nginx.running():
        assert nginx.get(certificate) == "SUCCESS\n"
        deployment.revoke(certificate)

        def is_refused() -> bool:
            sh(fetch)
            return "The SSL certificate error" in nginx.get(certificate)

        soon(is_refused, "the client is refused")
        assert "certificate revoked" in nginx.log


def test_nginx_with_ssl_ocsp_asks_about_its_clients(
    deployment: Deployment, certificate: Certificate, tmp_path: Path
) -> None:
    settings = f"ssl_client_certificate {deployment.ca}; ssl_verify_client optional; ssl_ocsp leaf;"
    nginx = Nginx(deployment, tmp_path, settings)
    with nginx.running():
        assert nginx.get(certificate) == "SUCCESS\n"
        deployment.revoke(certificate)
        soon(lambda: "The SSL certificate error" in nginx.get(certificate), "the client is refused")
        assert "certificate status" in nginx.log or "certificate revoked" in nginx.log


def test_nginx_with_ssl_stapling(deployment: Deployment, tmp_path: Path) -> None:
    settings = f"ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate {deployment.ca};"
    nginx = Nginx(deployment, tmp_path, settings)
    certificate = nginx.certificate

    def stapled() -> str:
        return attempt(f"openssl s_client -connect localhost:{nginx.port} -CAfile {deployment.ca} -status").stdout

    with nginx.running():
        soon(lambda: "Cert Status: good" in stapled(), "a good answer is stapled")
        assert "Verify return code: 0 (ok)" in stapled()
        status = f"curl -sS -o /dev/null --cert-status --cacert {deployment.ca} https://localhost:{nginx.port}/"
        assert attempt(status).returncode == 0
        deployment.revoke(certificate)
        nginx.reload()  # it asks again by itself, but only after some time
        soon(lambda: bool(stapled()) and 'certificate status "revoked" in the OCSP response' in nginx.log, "revoked")
        assert "no response sent" in stapled()  # nginx staples good answers alone,
        assert attempt(status).returncode == 91  # which who insists on one notices; curl(1): 91


# --- when very many are revoked -------------------------------------------------------------------


def test_clients_that_look_up_the_whole_chain_go_on_when_each_shard_has_its_own_crl(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.stop()
    ledger, identity = deployment.directory / "ledger.db", deployment.directory / "identity"
    build(ledger, CRL_SHARD_CERTIFICATES + 500, identity, deployment.passphrase())
    deployment.start()
    directories = {name: tmp_path / name for name in ("good", "bad")}
    for directory in directories.values():
        directory.mkdir()
    bad = deployment.issue(directories["bad"], "bad1")
    for which, reason in (["--client", "bad1"], "keyCompromise"), (["--issued-since", "365d"], "superseded"):
        deployment.operator.does("revoke", *which, "--reason", reason, "--yes")
    good = deployment.issue(directories["good"], "good1")
    crls = tmp_path / "chain.pem"

    def verdict(certificate: Certificate) -> str:
        sh(f"curl -sSf -o {crls} {deployment.url}/crl/chain.pem")
        return attempt(
            f"openssl verify -crl_check_all -CRLfile {crls} -CAfile {certificate.ca} {certificate.path} 2>&1"
        ).stdout

    soon(lambda: "certificate revoked" in verdict(bad), "certificate revoked")
    soon(lambda: verdict(good).endswith(": OK\n"), "the new one is good")
    assert crls.read_text().count("BEGIN X509 CRL") == 3
    leaves_alone = sh(f"curl -sSf {deployment.url}/crl/all.pem")
    assert leaves_alone.count("BEGIN X509 CRL") == 2
    assert crls.read_text().endswith(leaves_alone)
    for certificate, status in (good, 0), (bad, 60):  # curl(1): 60, the peer's certificate can't be verified
        with tls_server(certificate.path, certificate.key) as port:
            get = f"curl -sS -o /dev/null --cacert {certificate.ca} --crlfile {crls} https://localhost:{port}/"
            assert attempt(get).returncode == status
