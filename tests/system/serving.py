"""What docs/install.md does by hand, for tests that start where it ends."""

from tests.system.machine import CA_NAME, Machine

_DAEMONS = f"""
echo 127.0.0.1 {CA_NAME} >>/etc/hosts
(umask 077; openssl rand -base64 33 >/root/ca-passphrase)
ca_create_identity --passphrase-file /root/ca-passphrase -f CN "Example CA"
systemd-creds encrypt --name=ca_passphrase /root/ca-passphrase /etc/credstore.encrypted/ca_passphrase
# Tests ask more often than the settings that are installed allow.
sed -i -E 's/^(per_client|total) = .*/\\1 = "1000000\\/hour"/; /^freeze_above/d' /etc/ca/signerd.toml
systemctl enable --now ca-signerd.service ca-frontend.service
"""

_NGINX = f"""
cd /etc/nginx/signerd
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -subj /CN={CA_NAME} 2>/dev/null |
  ca_sign_certificate --client nginx -o tls.pem 90d
rm -f /etc/nginx/sites-enabled/*
ln -s ../sites-available/signerd /etc/nginx/sites-enabled/
sed -i 's|rate=10r/s|rate=10000r/s|' /etc/nginx/sites-available/signerd
systemctl start nginx
"""

_CLIENT = """
mkdir -p /srv/client
cd /srv/client
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout web1.key -out web1.csr \\
  -subj /CN=web1.example.net 2>/dev/null
"""


def serve(machine: Machine) -> None:
    """Has a machine on which signerd is installed serve: identity, passphrase, both units, nginx; and puts a
    client's CSR into /srv/client. Limits are lifted, for tests ask more often than people do."""
    for script in (_DAEMONS, _NGINX, _CLIENT):
        machine.run(script)
