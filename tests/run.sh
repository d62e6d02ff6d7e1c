#!/usr/bin/env bash
# Runs all tests. They put real clients before the server, so on Debian and its kin this script
# first installs those that are missing. Arguments go to `cargo test`; with `--tools-only` instead of
# them nothing is run.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# unbound lives where only root looks by default.
PATH="$PATH:/usr/sbin:/sbin"

# Which Debian package has which command, and which service comes with it.
readonly TOOLS="
cc gcc
c++ g++
curl curl
delv bind9-dnsutils
dig bind9-dnsutils
nslookup bind9-dnsutils
dnstap-read bind9-dnsutils
fstrm_capture fstrm-bin
prlimit util-linux
python3 python3
kdig knot-dnsutils
drill ldnsutils
unbound unbound unbound.service
pdns_recursor pdns-recursor pdns-recursor.service
kresd knot-resolver kresd@1.service
kres-cache-gc knot-resolver kres-cache-gc.service
redis-server redis-server redis-server.service
sqlite3 sqlite3
redis-cli redis-tools
redis-sentinel redis-sentinel redis-sentinel.service
openssl openssl
setpriv util-linux
systemd-analyze systemd
systemd-socket-activate systemd
zonemaster-cli zonemaster-cli
knotd knot knot.service
knotc knot knot.service
nsd nsd nsd.service
nsd-checkzone nsd nsd.service
named-compilezone bind9-utils
dnssec-dsfromkey bind9-utils
ldns-walk ldnsutils
timeout coreutils
"

readonly script=tests/run.sh
# shellcheck source=tests/packages.sh
source tests/packages.sh

command -v cargo >/dev/null || fail "cargo is not there; see https://rustup.rs"

need_tools

if [[ ${1-} == --tools-only ]]; then
    exit
fi

# The DynamoDB emulator cannot be a dev-dependency: its libsqlite3-sys collides with ours. The
# program is small either way, and built for tests; optimising it across crates takes minutes.
readonly EMULATOR=3.2.0
tools="${CARGO_TARGET_DIR:-target}/tools"
if ! cargo install --root "$tools" --list | grep -q "^dynoxide-rs v$EMULATOR:"; then
    printf 'building the DynamoDB emulator, once; this takes some minutes\n'
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$tools" dynoxide-rs --version "$EMULATOR" \
        --no-default-features --features native-sqlite,http-server,cli
fi

# Debian 12 has a DNSViz of 2021. What it needs its package does not say, so it is said here.
readonly DNSVIZ="dnsviz==0.11.2 dnspython==2.9.2 cryptography==50.0.2"
dnsviz="$tools/dnsviz"
if [[ $(cat "$dnsviz/made-of" 2>/dev/null) != "$DNSVIZ" ]]; then
    printf 'installing DNSViz from PyPI, once\n'
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        command -v apt-get >/dev/null || fail "python3 lacks its module venv, which DNSViz needs"
        install_packages "venv python3-venv"
    fi
    # shellcheck disable=SC2086  # these are several words
    if ! { python3 -m venv --clear "$dnsviz" &&
        "$dnsviz/bin/pip" install --quiet --disable-pip-version-check $DNSVIZ; }; then
        fail "no environment with $DNSVIZ could be made in $dnsviz; it takes PyPI and Python 3.9 or later"
    fi
    printf '%s' "$DNSVIZ" >"$dnsviz/made-of"
fi

if [[ $EUID -ne 0 ]]; then
    printf '%s: not run by root: the tests of giving up privileges and of port 53 are passed over\n' \
        "$script"
fi
cargo test --locked "$@"
