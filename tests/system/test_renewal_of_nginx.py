"""ca-renew-nginx.timer: nginx's own certificate is renewed by this CA before it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import CA_NAME, Machine, booted
from tests.system.serving import serve

CERTIFICATE = "/etc/nginx/signerd/tls.pem"
STAMP = "/var/lib/systemd/timers/stamp-ca-renew-nginx.timer"
SERVED = f"openssl s_client -connect {CA_NAME}:443 </dev/null 2>/dev/null | openssl x509 -noout -serial"
# A certificate of two names that is in its last 30 days, as nginx's own.
NEARLY_ENDED = f"""
cd /etc/nginx/signerd
openssl req -new -key tls.key -subj "/O=Example Net/CN={CA_NAME}" \
  -addext "subjectAltName=DNS:{CA_NAME},DNS:www.{CA_NAME}" | ca_sign_certificate --client nginx -o tls.pem 20d
systemctl reload nginx
"""


@pytest.fixture(scope="module")
def served(installed: Path) -> Iterator[Machine]:
    with booted(installed) as machine:
        machine.run(f"cp -a {installed}/* /; systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload")
        serve(machine)
        yield machine


def shown(machine: Machine, *what: str) -> str:
    return machine.run(f"openssl x509 -in {CERTIFICATE} -noout {' '.join(what)}")


def test_a_timer_that_missed_its_day_renews_the_certificate_and_nginx_serves_the_new_one(served: Machine) -> None:
    served.run(NEARLY_ENDED)
    before = shown(served, "-serial", "-pubkey", "-subject", "-ext", "subjectAltName")
    # As after a boot: the last look was yesterday's, the machine was off at midnight.
    served.run(f"mkdir -p {Path(STAMP).parent}; touch --date '2 days ago' {STAMP}")
    served.run("systemctl enable --now ca-renew-nginx.timer 2>&1")
    lasts = f"openssl x509 -in {CERTIFICATE} -noout -checkend 5184000"
    served.run(f"for i in $(seq 100); do {lasts} && exit; sleep 0.1; done; exit 1")
    after = shown(served, "-serial", "-pubkey", "-subject", "-ext", "subjectAltName")
    assert before.splitlines()[0] != after.splitlines()[0]
    assert before.splitlines()[1:] == after.splitlines()[1:]
    serial = after.splitlines()[0]
    served.run(f'for i in $(seq 100); do [ "$({SERVED})" != {serial} ] || exit 0; sleep 0.1; done; exit 1')
    assert served.run("systemctl is-enabled ca-renew-nginx.timer") == "enabled"
    assert served.run("ca_admin list --client nginx | grep -c valid") == "3"


def test_one_that_lasts_is_left_alone(served: Machine) -> None:
    before = shown(served, "-serial")
    served.run("systemctl start ca-renew-nginx.service")
    assert shown(served, "-serial") == before
    assert served.show("ca-renew-nginx.service", "Result") == "exec-condition"


def test_a_failure_is_in_the_journal_and_leaves_the_certificate(served: Machine) -> None:
    served.run(NEARLY_ENDED)
    before = shown(served, "-serial")
    served.run("ca_admin freeze")
    assert served.attempt("systemctl start ca-renew-nginx.service").status != 0
    assert served.show("ca-renew-nginx.service", "ActiveState") == "failed"
    journal = served.run("journalctl --unit ca-renew-nginx --priority 0..6 --no-pager")
    assert "ca_sign_certificate: frozen" in journal
    assert "Failed with result" in journal
    assert shown(served, "-serial") == before
    served.run("ca_admin thaw; systemctl start ca-renew-nginx.service")
    assert shown(served, "-serial") != before
