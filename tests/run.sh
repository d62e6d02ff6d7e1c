#!/usr/bin/env bash
# Runs all tests. They use real clients and servers; on Debian and its derivatives, this script first installs those that
# are missing. It passes its arguments to `cargo test`. With `--tools-only` it only installs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# unbound is in a directory that is only in root's PATH by default.
PATH="$PATH:/usr/sbin:/sbin"

# Each line: a command, its Debian package, and the service in that package, if there is one.
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
h2load nghttp2-client
dnsperf dnsperf
pebble pebble
chromium chromium
chromedriver chromium-driver
npm npm
certutil libnss3-tools
setpriv util-linux
script bsdutils
stty coreutils
groff groff-base
zbarimg zbar-tools
rsvg-convert librsvg2-bin
systemd-analyze systemd
systemd-socket-activate systemd
zonemaster-cli zonemaster-cli
knotd knot knot.service
knotc knot knot.service
/usr/lib/*/knot/modules-*/geoip.so knot-module-geoip
gdnsd gdnsd gdnsd.service
nsd nsd nsd.service
nsd-checkzone nsd nsd.service
named-compilezone bind9-utils
dnssec-dsfromkey bind9-utils
ldns-walk ldnsutils
timeout coreutils
/usr/lib/postgresql/*/bin/initdb postgresql postgresql.service
"

readonly script=tests/run.sh
# shellcheck source=tests/packages.sh
source tests/packages.sh

command -v cargo >/dev/null || fail "cargo is missing; see https://rustup.rs"

need_tools

if [[ ${1-} == --tools-only ]]; then
    exit
fi

# The DynamoDB emulator cannot be a dev-dependency: it needs another version of libsqlite3-sys, and a program can link
# only one. Its own profile optimises across crates, which takes minutes and which tests do not need.
readonly EMULATOR=3.2.0
tools="${CARGO_TARGET_DIR:-target}/tools"
if ! cargo install --root "$tools" --list | grep -q "^dynoxide-rs v$EMULATOR:"; then
    printf 'building the DynamoDB emulator; this takes some minutes, once\n'
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$tools" dynoxide-rs --version "$EMULATOR" \
        --no-default-features --features native-sqlite,http-server,cli
fi

# Makes a Python environment in the directory of the tools, once, with packages of PyPI.
# python_tool NAME DIRECTORY "PACKAGE==VERSION …"
python_tool() {
    local name=$1 directory="$tools/$2" packages=$3
    if [[ $(cat "$directory/made-of" 2>/dev/null) == "$packages" ]]; then
        return
    fi
    printf 'installing %s from PyPI, once\n' "$name"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        command -v apt-get >/dev/null || fail "the Python module venv is missing; $name needs it"
        install_packages "venv python3-venv"
    fi
    # shellcheck disable=SC2086  # packages has several words
    if ! { python3 -m venv --clear "$directory" &&
        "$directory/bin/pip" install --quiet --disable-pip-version-check $packages; }; then
        fail "cannot install $packages in $directory; this needs access to PyPI, and Python 3.10 or later"
    fi
    printf '%s' "$packages" >"$directory/made-of"
}

# The DNSViz of Debian 12 is from 2021, so this one is from PyPI. Its package does not list all of its dependencies.
python_tool DNSViz dnsviz "dnsviz==0.11.2 dnspython==2.9.2 cryptography==50.0.2"
# Schemathesis calls the API as its OpenAPI document describes it. The versions of the packages that make its requests are
# fixed, so that the same seed makes the same requests.
python_tool Schemathesis schemathesis \
    "schemathesis==4.32.5 hypothesis==6.170.17 jsonschema_rs==0.60.3 requests==2.34.2 urllib3==2.8.0"

# axe-core checks the pages in the browser. Debian has no package of it.
readonly AXE=4.14.1
readonly AXE_SHA256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
axe="$tools/axe-core"
if [[ $(cat "$axe/made-of" 2>/dev/null) != "$AXE $AXE_SHA256" ]]; then
    printf 'installing axe-core from npm, once\n'
    rm -rf "$axe" && mkdir -p "$axe"
    if ! { (cd "$axe" && npm pack --silent "axe-core@$AXE" >/dev/null) &&
        sha256sum --check --quiet <<<"$AXE_SHA256  $axe/axe-core-$AXE.tgz" &&
        tar -xzf "$axe/axe-core-$AXE.tgz" -C "$axe" --strip-components=1 package/axe.min.js package/LICENSE; }; then
        fail "cannot install axe-core $AXE in $axe; this needs access to the npm registry"
    fi
    printf '%s' "$AXE $AXE_SHA256" >"$axe/made-of"
fi

if [[ $EUID -ne 0 ]]; then
    printf '%s: not root, so skipping the tests that drop privileges and those of port 53\n' \
        "$script"
fi
cargo test --locked "$@"
