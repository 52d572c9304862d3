"""What operators add, in the sandboxes: hooks, code in the signer, clients' keys, more workers."""

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine

PUT = "curl -s -o /srv/answer -w '%{http_code}' --unix-socket /run/ca-frontend/http.sock -T /srv/client/web1.csr"
HOOKS = "/etc/ca/hooks/sapi_custom_ca"
DROP_IN = "/etc/systemd/system/ca-frontend.service.d"

CONNECTS = """
import socket
from datetime import timedelta
from frontend.hooks import SigningHooksBase

class API_CSR_HOOKS_FACTORY(SigningHooksBase):
    def authorize(self, subject_alt_name_exts):
        socket.create_connection(("127.0.0.1", 443), timeout=5).close()
        return timedelta(days=7)
"""

NUMBERS = """
SERIAL_NUMBER_GENERATOR_CB = iter(range(0x5EED5EED5EED5EED, 2**80)).__next__
"""


def put(machine: Machine, client: str, more: str = "") -> str:
    """The status of a request as the client."""
    return machine.run(f"{PUT} {more} http://localhost/api/csr/{client}")


@pytest.fixture
def hooked(machine: Machine) -> Iterator[Machine]:
    """The machine, with hooks that ask another one."""
    machine.run(f"mkdir {HOOKS}; touch {HOOKS}/__init__.py; cat >{HOOKS}/api.py <<'END'\n{CONNECTS}\nEND")
    machine.run("systemctl restart ca-frontend")
    yield machine
    machine.run(f"rm -rf {HOOKS} {DROP_IN}; systemctl daemon-reload; systemctl restart ca-frontend")


def test_hooks_reach_another_machine_with_the_drop_in_and_not_without(hooked: Machine) -> None:
    assert put(hooked, "web1") == "500"
    hooked.run(f"install -D -m 644 /usr/local/share/doc/signerd/drop-ins/hooks-network.conf {DROP_IN}/hooks.conf")
    hooked.run("systemctl daemon-reload; systemctl restart ca-frontend")
    assert put(hooked, "web1") == "200"


def test_code_of_the_operator_runs_in_the_signer(machine: Machine) -> None:
    directory = "/etc/ca/custom/sapi_custom_ca"
    machine.run(f"mkdir {directory}; cat >{directory}/ca.py <<'END'\n{NUMBERS}\nEND\nsystemctl restart ca-signerd")
    try:
        assert put(machine, "web1") == "200"
        assert '"serial":"5eed5eed5eed5e' in machine.run("cat /srv/answer")
    finally:
        machine.run(f"rm -r {directory}; systemctl restart ca-signerd")


def test_a_client_proves_itself_by_a_key_that_only_root_and_the_signer_read(machine: Machine) -> None:
    machine.run(
        """
        cp --archive /etc/ca/signerd.toml /root/
        install --group ca --mode 640 <(openssl rand -hex 32) /etc/ca/mac-keys/web9
        printf '\\n[client.web9]\\nmac_key_file = "/etc/ca/mac-keys/web9"\\n' >>/etc/ca/signerd.toml
        ca_admin reload
        """
    )
    try:
        assert put(machine, "web9") == "403"
        mac = machine.run(
            """
            now=$(date +%s)
            echo -n $now:
            { printf 'signerd mac 2\\nweb9\\n\\n\\n%s\\n' $now; openssl req -in /srv/client/web1.csr -outform DER; } |
              openssl dgst -sha256 -mac HMAC -macopt key:$(cat /etc/ca/mac-keys/web9) | sed 's/.*= //'
            """
        )
        assert put(machine, "web9", f"-H 'X-CSR-MAC: {mac}'") == "200"
    finally:
        machine.run("cp --archive /root/signerd.toml /etc/ca/; rm /etc/ca/mac-keys/web9; ca_admin reload")


def test_several_workers_share_the_inherited_socket_and_one_that_dies_is_replaced(machine: Machine) -> None:
    machine.run("cp /etc/ca/frontend.toml /root/; sed -i 's/^workers = 1/workers = 2/' /etc/ca/frontend.toml")
    machine.run("systemctl restart ca-frontend")
    try:
        parent = machine.show("ca-frontend", "MainPID")
        workers = machine.run(f"pgrep --parent {parent}").split()
        assert len(workers) == 2
        machine.run(f"kill -KILL {workers[0]}")
        machine.run(
            f"until test $(pgrep --parent {parent} | wc -l) = 2 && ! pgrep --parent {parent} | grep -qx {workers[0]}; "
            "do sleep 0.1; done"
        )
        assert [put(machine, "web1") for _ in range(10)] == ["200"] * 10
        assert machine.show("ca-frontend", "MainPID") == parent
    finally:
        machine.run("cp /root/frontend.toml /etc/ca/; systemctl restart ca-frontend")
