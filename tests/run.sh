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
redis-server redis-server redis-server.service
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

if [[ $EUID -ne 0 ]]; then
    printf '%s: not run by root: the tests of giving up privileges and of port 53 are passed over\n' \
        "$script"
fi
cargo test --locked "$@"
