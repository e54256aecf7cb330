#!/bin/sh
# Runs README's commands in a bare Debian: python3, git and ca-certificates alone, as an unprivileged user and as root.
#
#   tests/debian/bare.sh [COMMAND…]      default: './try demo' './try test'
#
# Needs root, debootstrap and the network; how this machine reaches it (mirror, proxy, certificates, pip's settings) is
# handed to the bare system at run time. BARE_SUITE names the release. BARE_ROOT=DIR keeps the bare system there, untouched
# by the runs, and uses it again.

set -eu
PATH=$PATH:/usr/sbin:/sbin

checkout=$(cd "$(dirname "$0")/../.." && pwd -P)
[ $# -gt 0 ] || set -- './try demo' './try test'
[ "$(id -u)" = 0 ] || { echo 'bare.sh: must be root' >&2; exit 77; }
command -v debootstrap >/dev/null || { echo 'bare.sh: debootstrap is missing' >&2; exit 77; }

scratch=$(mktemp -d)
printf '[safe]\n\tdirectory = *\n' >"$scratch/gitconfig" # the checkout may be somebody else's
trap 'rm -rf --one-file-system "$scratch"' EXIT
template=${BARE_ROOT:-$scratch/template}
system=$scratch/system

if [ ! -x "$template/usr/bin/git" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    echo "debootstrap into $template" >&2
    # shellcheck disable=SC2086 # no mirror: debootstrap's own
    debootstrap --variant=minbase --include=python3,git,ca-certificates "${BARE_SUITE:-bookworm}" "$template" $mirror >"$scratch/log" ||
        { tail "$scratch/log"; exit 1; }
fi

connect() { # the network as this machine has it
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || cp --dereference "$file" "$system$file"
    done
    apt-config dump | grep -i '^Acquire::.*Proxy' >"$system/etc/apt/apt.conf.d/90network" || true
}

enter() { # enter USER COMMAND: in namespaces of its own, so that no process and no mount outlives it
    set -- chroot --userspec="$1:$1" "$system" \
        /usr/bin/env -i "HOME=$(home "$1")" "USER=$1" PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
        SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt ${PIP_INDEX_URL:+"PIP_INDEX_URL=$PIP_INDEX_URL"} \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} ${no_proxy:+"no_proxy=$no_proxy"} \
        /bin/sh -c "cd '$(home "$1")/a checkout' && $2"
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -euc '
        mount -t proc proc "$0/proc"
        mount -t tmpfs -o mode=755 dev "$0/dev"
        for device in null zero full random urandom tty; do touch "$0/dev/$device"; mount --bind "/dev/$device" "$0/dev/$device"; done
        mkdir "$0/dev/pts" "$0/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$0/dev/pts"
        ln -s pts/ptmx "$0/dev/ptmx"; ln -s /proc/self/fd "$0/dev/fd"
        mount -t tmpfs -o mode=1777 shm "$0/dev/shm"
        exec "$@"' "$system" "$@" </dev/null
}

home() { if [ "$1" = root ]; then echo /root; else echo "/home/$1"; fi; }

failures=0
for user in someone root; do
    rm -rf --one-file-system "$system"
    cp -a "$template" "$system"
    connect
    if [ "$user" != root ]; then
        chroot "$system" useradd --create-home "$user"
        find "$system/var/lib/apt/lists" -type f -delete # as images come; root's run has them
    fi
    GIT_CONFIG_GLOBAL=$scratch/gitconfig git clone --quiet --no-local "$checkout" "$system$(home "$user")/a checkout"
    chroot "$system" chown -R "$user:$user" "$(home "$user")/a checkout"
    before=$(chroot "$system" dpkg-query --show | sort | sha256sum)
    touch "$scratch/before"
    for command in "$@"; do
        printf '\n=== %s: %s\n' "$user" "$command"
        began=$(date +%s)
        code=0
        enter "$user" "$command" || code=$?
        [ "$code" = 0 ] || failures=$((failures + 1))
        echo "=== exit $code after $(($(date +%s) - began)) s"
    done
    echo "=== changed outside the checkout, /tmp and pip's cache:"
    find "$system" -xdev \( -path '*/a checkout' -o -path "$system/tmp" \) -prune -o -newer "$scratch/before" ! -type d -printf '/%P\n' |
        grep -v '/\.cache/pip/' | head -n 20
    [ "$before" = "$(chroot "$system" dpkg-query --show | sort | sha256sum)" ] ||
        { echo '=== packages were installed or removed'; failures=$((failures + 1)); }
done
echo "=== $failures failed"
[ "$failures" = 0 ]
