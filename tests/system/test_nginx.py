"""nginx as it is installed: what it lets through, to whom, and what it answers itself."""

import json

import pytest

from tests.system.machine import Machine

CURL = "curl -sS --cacert /var/lib/ca/ca.crt.pem"
STATUS = "-o /dev/null -w '%{http_code}'"


def test_a_certificate_comes_by_tls_and_openssl_verifies_it(machine: Machine) -> None:
    machine.run(
        f"""
        cd /srv/client
        {CURL} -f -T web1.csr -H 'Accept: application/pem-certificate-chain' -o web1.pem \
          https://ca.example.net/api/csr/web1
        openssl verify -x509_strict -purpose sslserver -verify_hostname web1.example.net \
          -CAfile /var/lib/ca/ca.crt.pem web1.pem
        test "$(openssl x509 -in web1.pem -noout -pubkey)" = "$(openssl req -in web1.csr -noout -pubkey)"
        """
    )


@pytest.mark.parametrize(("version", "accepted"), [("1.0", False), ("1.1", False), ("1.2", True), ("1.3", True)])
def test_tls_begins_at_1_2(machine: Machine, version: str, accepted: bool) -> None:
    # @SECLEVEL=0: else the client itself would refuse the old ones.
    done = machine.attempt(
        f"{CURL} {STATUS} --ciphers DEFAULT@SECLEVEL=0 --tlsv{version} --tls-max {version} https://ca.example.net/ping"
    )
    assert (done.stdout == "200") is accepted, done.stderr


@pytest.mark.parametrize("path", ["ca.der", "ca.pem"])
def test_what_must_be_had_without_tls_can_be(machine: Machine, path: str) -> None:
    assert machine.run(f"curl -sS {STATUS} http://ca.example.net/{path}") == "200"


@pytest.mark.parametrize("path", ["crl/0.crl", "crl/all.pem", "crl/chain.pem", "ocsp/MAA="])
def test_questions_about_revocation_reach_the_frontend_without_tls(machine: Machine, path: str) -> None:
    before = machine.run("journalctl --sync; journalctl --unit ca-frontend | wc -l")
    machine.run(f"curl -sS {STATUS} http://ca.example.net/{path}")
    line = machine.run(f"journalctl --sync; journalctl --unit ca-frontend --output cat | tail -n +{int(before) + 1}")
    assert f"GET /{path} " in line


@pytest.mark.parametrize("path", ["", "ping", "readyz", "metrics", "api/csr/web1", "crl/../api/csr/web1", "ocspx"])
def test_nothing_else_is_to_be_had_without_tls(machine: Machine, path: str) -> None:
    put = "-T /srv/client/web1.csr" if "api" in path else ""
    assert machine.run(f"curl -sS --path-as-is {STATUS} {put} http://ca.example.net/{path}") == "403"


def test_a_body_above_64_kib_is_refused_with_a_problem(machine: Machine) -> None:
    machine.run("head -c 65537 /dev/zero >/srv/large")
    answer = machine.run(f"{CURL} -i --http1.1 -T /srv/large https://ca.example.net/api/csr/web1")
    head, _, body = answer.rpartition("\n")
    assert "413" in head
    assert "content-type: application/problem+json" in head.lower()
    assert json.loads(body)["status"] == 413


def test_a_flood_from_one_address_is_refused_and_told_when_to_come_again(machine: Machine) -> None:
    site = "/etc/nginx/sites-available/signerd"
    machine.run(f"sed -i 's|rate=10000r/s|rate=10r/s|' {site}; nginx -s reload; sleep 0.5")
    try:
        put = f"{CURL} -w '%{{http_code}} %header{{retry-after}}\\n' -o /dev/null -T /srv/client/web1.csr"
        urls = " ".join(f"{put.removeprefix('curl ')} https://ca.example.net/api/csr/web1 --next" for _ in range(90))
        statuses = machine.run(f"curl {urls.removesuffix(' --next')}").splitlines()
        assert statuses[0].strip() == "200"
        assert "429 1" in statuses
        assert {status.split()[0] for status in statuses} == {"200", "429"}
    finally:
        machine.run(f"sed -i 's|rate=10r/s|rate=10000r/s|' {site}; nginx -s reload; sleep 0.5")


def test_metrics_are_for_this_machine_alone(machine: Machine) -> None:
    machine.run("ip address add 10.9.8.7/32 dev lo")
    assert machine.run(f"{CURL} {STATUS} https://ca.example.net/metrics") == "200"
    elsewhere = f"{CURL} {STATUS} --interface 10.9.8.7 --resolve ca.example.net:443:10.9.8.7"
    assert machine.run(f"{elsewhere} https://ca.example.net/metrics") == "403"
    assert machine.run(f"{elsewhere} https://ca.example.net/ping") == "200"


def test_certificates_are_for_private_networks_alone(machine: Machine) -> None:
    machine.run("ip address add 192.0.2.7/32 dev lo")
    elsewhere = f"{CURL} {STATUS} --interface 192.0.2.7 --resolve ca.example.net:443:192.0.2.7"
    assert machine.run(f"{elsewhere} -T /srv/client/web1.csr https://ca.example.net/api/csr/web1") == "403"
    assert machine.run(f"{elsewhere} https://ca.example.net/ca.pem") == "200"


def test_the_frontend_learns_the_clients_address_from_nginx_and_not_from_the_client(machine: Machine) -> None:
    machine.run(f"{CURL} {STATUS} -H 'X-Forwarded-For: 203.0.113.9' https://ca.example.net/ping")
    line = machine.run("journalctl --sync; journalctl --unit ca-frontend --output cat --grep 'GET /ping' --lines 1")
    assert "127.0.0.1" in line
    assert "203.0.113.9" not in line
