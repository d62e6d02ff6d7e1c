# shellcheck shell=bash
# Installs the commands that a script needs from Debian packages. tests/run.sh and benches/compare.sh source this file
# after they have set two variables: `script` is the name of the script, for error messages. `TOOLS` has a line for
# each command with two or three words: the command, or a pattern for the path of a file that is not a command; its
# Debian package; the service in that package, if there is one.

fail() {
    # shellcheck disable=SC2154  # the sourcing script sets it
    printf '%s: %s\n' "$script" "$*" >&2
    exit 1
}

# Prints the lines of TOOLS whose command or file is missing.
missing() {
    local tool rest
    while read -r tool rest; do
        if [[ -n $tool ]] && ! command -v "$tool" >/dev/null && ! compgen -G "$tool" >/dev/null; then
            printf '%s %s\n' "$tool" "$rest"
        fi
    done <<<"$TOOLS"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        # Ask for a password only on a terminal.
        if [[ -t 0 ]]; then sudo "$@"; else sudo -n "$@"; fi
    else
        fail "this needs root; run it by root, or install sudo: $*"
    fi
}

# Installs the packages of some lines of TOOLS, and neither starts nor enables their services: name servers would take
# port 53, unbound also port 5353, which the tests use, and Redis port 6379. Services that were installed before stay as
# they are.
install_packages() {
    local policy=/usr/sbin/policy-rc.d packages services
    mapfile -t packages < <(cut -d' ' -f2 <<<"$1" | sort -u)
    mapfile -t services < <(cut -d' ' -f3 <<<"$1" | grep . | sort -u)
    printf 'installing: %s\n' "${packages[*]}"
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        # shellcheck disable=SC2064  # the trap needs the present value of the path
        trap "as_root rm -f '$policy'" EXIT
        as_root chmod 755 "$policy"
    fi
    # Debian's package of PostgreSQL makes databases of its own, which no test uses.
    local clusters=/etc/postgresql-common/createcluster.d/tinyns-tests.conf
    if [[ " ${packages[*]} " == *" postgresql "* ]]; then
        as_root mkdir -p "${clusters%/*}"
        printf 'create_main_cluster = false\n' | as_root tee "$clusters" >/dev/null
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${packages[@]}"
    as_root rm -f "$clusters"
    if [[ ${#services[@]} -gt 0 && -d /run/systemd/system ]]; then
        as_root systemctl disable --quiet --now "${services[@]}"
    fi
    if [[ -n $(trap -p EXIT) ]]; then
        trap - EXIT
        as_root rm -f "$policy"
    fi
}

# Installs what is missing of TOOLS; exits with a message if that is impossible.
need_tools() {
    local lacking
    lacking=$(missing)
    if [[ -n $lacking ]]; then
        command -v apt-get >/dev/null || fail "these commands are missing; please install them:
$(cut -d' ' -f1 <<<"$lacking" | paste -sd' ')
On Debian they are in the packages: $(cut -d' ' -f2 <<<"$lacking" | sort -u | paste -sd' ')"
        install_packages "$lacking"
        lacking=$(missing)
        [[ -z $lacking ]] || fail "still missing: $(cut -d' ' -f1 <<<"$lacking" | paste -sd' ')"
    fi
}
