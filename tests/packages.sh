# shellcheck shell=bash
# Installs commands that a script needs, from Debian's packages. For tests/run.sh and
# benches/compare.sh, which source it after they have set `script`, the name by which errors are told,
# and `TOOLS`, with a line for each command: its name, or a pattern of the path of a file that is no
# command; the Debian package that has it; the service that comes with it, if one does.

fail() {
    # shellcheck disable=SC2154  # the script sets it
    printf '%s: %s\n' "$script" "$*" >&2
    exit 1
}

# The lines of TOOLS whose command or file is not there.
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
        # Ask for a password only where somebody can type one.
        if [[ -t 0 ]]; then sudo "$@"; else sudo -n "$@"; fi
    else
        fail "root is needed to run: $*"
    fi
}

# Installs what lines of TOOLS name, without starting the services that come with it: a name server
# would take port 53, unbound port 5353 from the tests, and all would come back at every boot, as would
# Redis at its port. A service that was there before is none of our business.
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

# Sees to it that everything in TOOLS is there, or ends with a message.
need_tools() {
    local lacking
    lacking=$(missing)
    if [[ -n $lacking ]]; then
        command -v apt-get >/dev/null || fail "these are needed and missing:
$(cut -d' ' -f1 <<<"$lacking" | paste -sd' ')
On Debian they are in: $(cut -d' ' -f2 <<<"$lacking" | sort -u | paste -sd' ')"
        install_packages "$lacking"
        lacking=$(missing)
        [[ -z $lacking ]] || fail "still missing: $(cut -d' ' -f1 <<<"$lacking" | paste -sd' ')"
    fi
}
