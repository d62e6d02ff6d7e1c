#!/usr/bin/env bash
# Compares tinyns with other name servers under load. On Debian and its kin this script first installs
# those that are missing, without starting them as services; then it builds tinyns, unless a build is
# named by --tinyns. Arguments go to benches/compare.py, whose --help says what they are.
set -euo pipefail

# Paths in arguments are relative to where we were called, as is CARGO_TARGET_DIR.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Servers live where only root looks by default.
PATH="$PATH:/usr/sbin:/sbin"

# Which Debian package has which command, and which service comes with it.
# shellcheck disable=SC2034  # packages.sh reads it
readonly TOOLS="
cc gcc
python3 python3
dnsperf dnsperf
taskset util-linux
valgrind valgrind
knotd knot knot.service
nsd nsd nsd.service
named bind9 named.service
pdns_server pdns-server pdns.service
/usr/lib/*/pdns/libbindbackend.so pdns-backend-bind
"

# shellcheck disable=SC2034  # packages.sh reads it
readonly script=benches/compare.sh
# shellcheck source=tests/packages.sh
source "$root/tests/packages.sh"

build=yes
for argument in "$@"; do
    case $argument in
        -h | --help | --self-test) exec "$root/benches/compare.py" "$argument" ;;
        --tinyns | --tinyns=*) build=no ;;
    esac
done

# Standard output is for the tables.
need_tools >&2
if [[ $build == yes ]]; then
    command -v cargo >/dev/null || fail "cargo is not there; see https://rustup.rs"
    cargo build --release --locked --manifest-path "$root/Cargo.toml" >&2
fi

exec "$root/benches/compare.py" "$@"
