# shellcheck shell=bash disable=SC2034
# What is installed, by name: for packaging/install and packaging/uninstall.
mapfile -t commands < <(sed -n '/^\[project.scripts\]/,/^$/s/^\(ca_[a-z_]*\) = .*/\1/p' pyproject.toml)
units=(
  ca-signerd.service ca-sign.socket ca-admin.socket
  ca-frontend.service ca-frontend.socket
  ca-passphrase.socket ca-passphrase@.service
  ca-renew-nginx.service ca-renew-nginx.timer
)
