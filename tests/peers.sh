#!/usr/bin/env bash
# Install the Debian packages that the tests, the bench and the fuzzers run against: real peers, and clang's sanitizers.
set -eu
packages=(
    freediameter libfreediameter-dev erlang-base erlang-diameter freeradius freeradius-utils hostapd wpasupplicant
    iproute2 tshark clang libclang-rt-14-dev libssl-dev libcrypt-dev python3-dev
)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "error: missing Debian packages: ${missing[*]}; install them with: sudo apt-get install ${missing[*]}"
    exit 1
fi
echo "==> Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The packages' own services must not start: the tests start their peers themselves.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
