"""The other two ways to hand the passphrase over: a plain file, and a person who types it."""

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine

DROP_INS = "/usr/local/share/doc/signerd/drop-ins"
DROP_IN = "/etc/systemd/system/ca-signerd.service.d/passphrase.conf"
PUT = (
    "curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/ca-frontend/http.sock -T /srv/client/web1.csr "
    "http://localhost/api/csr/web1"
)


@pytest.fixture
def unencrypted(machine: Machine) -> Iterator[Machine]:
    """The machine, without the encrypted credential."""
    machine.run("mv /etc/credstore.encrypted/ca_passphrase /root/saved; systemctl reset-failed 'ca-*'")
    yield machine
    machine.run(
        f"""
        mv /root/saved /etc/credstore.encrypted/ca_passphrase
        rm -rf /etc/credstore {DROP_IN}
        systemctl disable --quiet --now ca-passphrase.socket
        systemctl daemon-reload
        systemctl reset-failed 'ca-*'
        systemctl restart ca-signerd
        """
    )


def test_a_plain_file_that_only_root_reads_will_do(unencrypted: Machine) -> None:
    unencrypted.run(
        f"""
        install -D -m 644 {DROP_INS}/plain-passphrase.conf {DROP_IN}
        install -D -m 600 /root/ca-passphrase /etc/credstore/ca_passphrase
        systemctl daemon-reload
        systemctl restart ca-signerd
        """
    )
    assert unencrypted.run(PUT) == "200"


def test_a_person_who_types_it_is_waited_for_and_it_lies_on_no_disk(unencrypted: Machine) -> None:
    unencrypted.run(
        f"""
        install -D -m 644 {DROP_INS}/ask-passphrase.conf {DROP_IN}
        systemctl daemon-reload
        systemctl enable --quiet --now ca-passphrase.socket
        systemctl restart --no-block ca-signerd
        until grep -q "Passphrase of the CA's key:" /run/systemd/ask-password/ask.*; do sleep 0.05; done
        """
    )
    assert unencrypted.show("ca-signerd", "ActiveState") == "activating"
    asked = unencrypted.attempt("ca_admin status || ca_admin doctor", seconds=50)
    assert "no answer within 10 s" in asked.stderr
    assert "ca-signerd.service is starting, and not ready yet: does it wait for its passphrase?" in asked.stdout
    # What comes meanwhile waits, and so does this: it is asked before the answer is there.
    unencrypted.run(f"{PUT} >/srv/waited 2>/dev/null & echo $! >/srv/waits")
    # What the agents of systemd-ask-password run to hand over what was typed.
    unencrypted.run(
        """
        socket=$(sed -n 's/^Socket=//p' /run/systemd/ask-password/ask.*)
        /lib/systemd/systemd-reply-password 1 $socket </root/ca-passphrase
        until systemctl is-active --quiet ca-signerd; do sleep 0.05; done
        while kill -0 $(cat /srv/waits) 2>/dev/null; do sleep 0.05; done
        """
    )
    assert unencrypted.run("cat /srv/waited") == "200"
    unencrypted.run("test ! -e /etc/credstore; test ! -e /etc/credstore.encrypted/ca_passphrase")


def test_nobody_but_root_can_ask_the_one_who_asks(unencrypted: Machine) -> None:
    unencrypted.run("systemctl start ca-passphrase.socket")
    assert unencrypted.run("stat --format '%U:%G %a' /run/ca-passphrase.sock") == "root:root 600"
