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
curl curl
delv bind9-dnsutils
dig bind9-dnsutils
nslookup bind9-dnsutils
python3 python3
kdig knot-dnsutils
drill ldnsutils
unbound unbound unbound.service
redis-server redis-server redis-server.service
redis-cli redis-tools
redis-sentinel redis-sentinel redis-sentinel.service
openssl openssl
"

fail() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

# The lines of TOOLS whose command is not there.
missing() {
    local tool rest
    while read -r tool rest; do
        if [[ -n $tool ]] && ! command -v "$tool" >/dev/null; then
            printf '%s %s\n' "$tool" "$rest"
        fi
    done <<<"$TOOLS"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        # Ask for a password only where somebody can type one.
        if [[ -t 0 ]]; then sudo "$@"; else sudo -n "$@"; fi
    else
        fail "root is needed to run: $*"
    fi
}

# Installs what lines of TOOLS name, without starting the services that come with it: unbound would
# take port 53, or port 5353 from the tests, and would come back at every boot, as would Redis at its
# port. A service that was there before is none of our business.
install_packages() {
    local policy=/usr/sbin/policy-rc.d packages services
    mapfile -t packages < <(cut -d' ' -f2 <<<"$1" | sort -u)
    mapfile -t services < <(cut -d' ' -f3 <<<"$1" | grep . | sort -u)
    printf 'installing: %s\n' "${packages[*]}"
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        # shellcheck disable=SC2064  # the path is wanted as it is now
        trap "as_root rm -f '$policy'" EXIT
        as_root chmod 755 "$policy"
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${packages[@]}"
    if [[ ${#services[@]} -gt 0 && -d /run/systemd/system ]]; then
        as_root systemctl disable --quiet --now "${services[@]}"
    fi
    if [[ -n $(trap -p EXIT) ]]; then
        trap - EXIT
        as_root rm -f "$policy"
    fi
}

command -v cargo >/dev/null || fail "cargo is not there; see https://rustup.rs"

lacking=$(missing)
if [[ -n $lacking ]]; then
    command -v apt-get >/dev/null || fail "these commands are needed and missing:
$(cut -d' ' -f1 <<<"$lacking" | paste -sd' ')
On Debian they are in: $(cut -d' ' -f2 <<<"$lacking" | sort -u | paste -sd' ')"
    install_packages "$lacking"
    lacking=$(missing)
    [[ -z $lacking ]] || fail "still missing: $(cut -d' ' -f1 <<<"$lacking" | paste -sd' ')"
fi

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

cargo test --locked "$@"
