#!/usr/bin/env bash
# Compares the redirect host of tinyns with nginx and Caddy under load. On Debian and its derivatives, this script first
# installs what is missing, without starting services. Then it builds tinyns with the profile release, unless --tinyns
# names a program. It passes its arguments to benches/redirect.py; see --help.
set -euo pipefail

# Paths in arguments, and CARGO_TARGET_DIR, are relative to the working directory, so the script must not change it.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Servers are in directories that are only in root's PATH by default.
PATH="$PATH:/usr/sbin:/sbin"

# Each line: a command, its Debian package, and the service in that package, if there is one.
# shellcheck disable=SC2034  # packages.sh reads it
readonly TOOLS="
python3 python3
dnsperf dnsperf
taskset util-linux
openssl openssl
wrk wrk
h2load nghttp2-client
nginx nginx-light nginx.service
caddy caddy caddy.service
"

# shellcheck disable=SC2034  # packages.sh reads it
readonly script=benches/redirect.sh
# shellcheck source=tests/packages.sh
source "$root/tests/packages.sh"

build=yes
for argument in "$@"; do
    case $argument in
        -h | --help | --self-test) exec "$root/benches/redirect.py" "$argument" ;;
        --tinyns | --tinyns=*) build=no ;;
    esac
done

# The results go to standard output, everything else to standard error.
need_tools >&2
if [[ $build == yes ]]; then
    command -v cargo >/dev/null || fail "cargo is missing; see https://rustup.rs"
    cargo build --release --locked --manifest-path "$root/Cargo.toml" >&2
fi

exec "$root/benches/redirect.py" "$@"
