#!/bin/sh
# Installs the tidelock agent from its archive: finds the processor and the init system, and uses nothing of what it
# fetched before the signature over it is checked.
#
#   curl -fsSL URL/install.sh | sh                      install, or upgrade
#   … | sh -s -- --dry-run                              fetch and check, and say what would be done
#   … | sh -s -- -- join URL --root-sha256 H --env E    and join a fleet
#   sh install.sh --from tidelock-armv6.tar.gz          without network: SHA256SUMS and SHA256SUMS.minisig lie beside it
#   sh install.sh --uninstall [--purge]                 take it away; --purge: its state too, but no app that still runs
#
#   --from URL|DIR|FILE   where the archive is, or which archive
#   --key KEY             the public key in minisign's form, instead of the project's
#   --target TARGET       x86_64, aarch64, armv7, armv6, i686 or riscv64, instead of this machine's
#   --init INIT           systemd, openrc, procd or none, instead of this machine's
#   --root DIR            install below DIR, such as an image that is being made; nothing is started
set -eu

# Filled in where a release is made.
url='@URL@' key='@KEY@'

main() {
    root='' dry='' task=install purge='' target='' init='' archive='' work=''
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run) dry=yes ;;
        --uninstall) task=uninstall ;;
        --purge) purge=yes ;;
        --from | --key | --target | --init | --root)
            [ $# -gt 1 ] || die "$1 needs a value"
            case $1 in
            --from) url=$2 ;; --key) key=$2 ;; --target) target=$2 ;; --init) init=$2 ;; --root) root=${2%/} ;;
            esac
            shift ;;
        --) shift; break ;;
        *) die "no such option: $1 (the first lines of this script name them)" ;;
        esac
        shift
    done
    if [ -z "$root$dry" ] && [ "$(id -u)" != 0 ]; then die "only root can do that: sudo sh"; fi
    if grep -qx /usr/bin/tidelock "$root/var/lib/dpkg/info/tidelock.list" 2>/dev/null; then
        die "tidelock is here as a Debian package: apt-get install or remove it"
    fi
    [ -n "$init" ] || init=$(supervisor)
    $task
    if [ "$task" = install ] && [ $# -gt 0 ]; then
        say "tidelock $*"
        [ -n "$dry" ] || "$root/usr/bin/tidelock" ${root:+--root "$root"} "$@"
    fi
}

install() {
    [ -n "$target" ] || target=$(processor)
    archive=tidelock-$target.tar.gz
    if [ -f "$url" ]; then archive=${url##*/} url=$(dirname "$url"); fi
    case $url in @*) die "--from is needed: where the archives are" ;; esac
    case $key in @*) die "--key is needed: whose signature is believed" ;; esac
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for name in SHA256SUMS SHA256SUMS.minisig "$archive"; do fetch "$name"; done
    verify "$work/SHA256SUMS"
    expected=$(sed -n "s/^\([0-9a-f]\{64\}\)  $archive\$/\1/p" "$work/SHA256SUMS")
    [ "$expected" = "$(digest "$work/$archive")" ] || die "$archive is not the file that was signed"
    say "$archive is signed: $(sed -n '3s/^trusted comment: //p' "$work/SHA256SUMS.minisig")"
    (cd "$work" && gzip -dc "$archive" | tar -xf -)
    new=$work/tidelock list=$work/installed
    : >"$list"
    if [ -z "$root" ] && [ -z "$dry" ]; then
        "$new/usr/bin/tidelock" --version >/dev/null || die "the $target agent does not run on this machine: --target"
    fi
    place usr/bin/tidelock usr/bin/tidelock 755
    for file in share/man/man8/tidelock.8 share/bash-completion/completions/tidelock; do
        place "usr/$file" "usr/$file" 644
    done
    place forget usr/lib/tidelock/forget 644
    case $init in
    systemd)
        for file in system/tidelock.service system/tidelock-guard.service system/tidelock-firstboot.service; do
            place "systemd/$file" "usr/lib/systemd/$file" 644
        done
        for file in sysusers.d/tidelock.conf tmpfiles.d/tidelock.conf; do place "systemd/$file" "usr/lib/$file" 644; done ;;
    openrc | procd) place "$init" etc/init.d/tidelock 755 ;;
    esac
    if [ -z "$dry" ]; then
        cp "$list" "$root/usr/lib/tidelock/installed"
    fi
    begin
}

uninstall() {
    list=$root/usr/lib/tidelock/installed
    [ -e "$list" ] || die "nothing that this script installed is here: there is no $list"
    end
    if [ -n "$purge" ]; then
        say "what belongs to the agent below $root/etc/tidelock and $root/var/lib/tidelock goes, but no app that still runs"
        if [ -z "$dry" ]; then
            # shellcheck disable=SC1091
            . "$root/usr/lib/tidelock/forget"
            forget "$root"
        fi
    fi
    while read -r file; do
        say "remove $root/$file"
        [ -n "$dry" ] || rm -f "$root/$file"
    done <"$list"
    if [ -z "$dry" ]; then
        rm -f "$list"
        # What is still in it is somebody else's.
        [ -n "$(ls -A "$root/usr/lib/tidelock")" ] || rmdir "$root/usr/lib/tidelock"
    fi
    if [ "$init" = systemd ] && [ -z "$root" ]; then run systemctl daemon-reload; fi
    [ -n "$purge" ] || say "apps, releases and settings are left: --purge, or install again"
}

# Puts a file of the archive in its place, whole or not at all; whoever runs the old one keeps it.
place() { # FROM TO MODE
    say "install $root/$2"
    echo "$2" >>"$list"
    [ -z "$dry" ] || return 0
    mkdir -p "$(dirname "$root/$2")"
    cp "$new/$1" "$root/$2.new"
    chmod "$3" "$root/$2.new"
    mv -f "$root/$2.new" "$root/$2"
}

# Starts the agent, now and at each boot. One that runs is started anew: it goes on with a trial where it stopped.
begin() {
    case $init in
    systemd)
        if [ -n "$root" ]; then
            for unit in tidelock tidelock-guard tidelock-firstboot; do
                link "/usr/lib/systemd/system/$unit.service" "etc/systemd/system/multi-user.target.wants/$unit.service"
            done
            return
        fi
        run systemd-sysusers tidelock.conf
        run systemd-tmpfiles --create tidelock.conf
        run systemctl daemon-reload
        run systemctl enable tidelock-guard.service tidelock-firstboot.service tidelock.service
        run systemctl start tidelock-firstboot.service
        run systemctl restart tidelock.service ;;
    openrc)
        if [ -n "$root" ]; then link /etc/init.d/tidelock etc/runlevels/default/tidelock; return; fi
        run rc-update add tidelock default
        run rc-service tidelock restart ;;
    procd)
        if [ -n "$root" ]; then
            link ../init.d/tidelock etc/rc.d/S95tidelock
            link ../init.d/tidelock etc/rc.d/K10tidelock
            return
        fi
        run /etc/init.d/tidelock enable
        run /etc/init.d/tidelock restart ;;
    *) say "no init system that is known: at each boot run tidelock guard, then keep tidelock run running" ;;
    esac
}

# Stops the agent; apps go on.
end() {
    case $init in
    systemd)
        for unit in tidelock tidelock-guard tidelock-firstboot; do
            wants=etc/systemd/system/multi-user.target.wants/$unit.service
            if [ -n "$root" ]; then run rm -f "$root/$wants"; else run systemctl disable --now "$unit.service"; fi
        done ;;
    openrc)
        if [ -n "$root" ]; then run rm -f "$root/etc/runlevels/default/tidelock"; return; fi
        run rc-service tidelock stop
        run rc-update del tidelock default ;;
    procd)
        if [ -n "$root" ]; then run rm -f "$root/etc/rc.d/S95tidelock" "$root/etc/rc.d/K10tidelock"; return; fi
        run /etc/init.d/tidelock stop
        run /etc/init.d/tidelock disable ;;
    esac
}

link() { # TARGET NAME
    run mkdir -p "$(dirname "$root/$2")"
    run ln -sf "$1" "$root/$2"
}

# A kernel of 64 bits may carry a system of 32: the apps of that system need an agent of its kind.
processor() {
    machine=$(uname -m)
    # Where there is no shell yet, as below the root of an image, the kernel alone is asked.
    bits=$(od -An -tu1 -j4 -N1 "$root/bin/sh" 2>/dev/null | tr -d ' ')
    case $machine.$bits in
    x86_64.1 | amd64.1) machine=i686 ;;
    aarch64.1 | arm64.1) machine=armv8l ;;
    esac
    case $machine in
    x86_64 | amd64) echo x86_64 ;;
    aarch64 | arm64) echo aarch64 ;;
    riscv64) echo riscv64 ;;
    i?86)
        has sse2 || die "this processor is older than what the i686 agent needs (SSE2)"
        echo i686 ;;
    # Not by "CPU architecture", which says 7 on the ARMv6 of the first Pi.
    armv7* | armv8*) if has 'vfpv3|vfpv4|asimd'; then echo armv7; else echo armv6; fi ;;
    armv6*) echo armv6 ;;
    *) die "there is no agent for a processor called $machine" ;;
    esac
}

has() { # FEATURE, a pattern; where the kernel names none, it is believed to be there
    features=$(grep -hiE '^(features|flags)' "$root/proc/cpuinfo" /proc/cpuinfo 2>/dev/null | head -n 1)
    [ -z "$features" ] || echo "$features" | grep -qE "$1"
}

supervisor() {
    if [ -d "$root/run/systemd/system" ] || [ -x "$root/usr/lib/systemd/systemd" ] || [ -x "$root/lib/systemd/systemd" ]; then
        echo systemd
    elif [ -x "$root/sbin/openrc-run" ] || [ -x "$root/usr/sbin/openrc-run" ]; then
        echo openrc
    elif [ -x "$root/sbin/procd" ]; then
        echo procd
    else
        echo none
    fi
}

fetch() { # NAME
    case $url in
    http://* | https://*)
        if command -v curl >/dev/null; then
            curl -fsSL --retry 3 -o "$work/$1" "$url/$1" || die "cannot fetch $url/$1"
        else
            wget -q -O "$work/$1" "$url/$1" || die "cannot fetch $url/$1"
        fi ;;
    *) cp "$url/$1" "$work/$1" || die "there is no $url/$1" ;;
    esac
}

digest() { # FILE
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else openssl dgst -r -sha256 "$1"; fi | cut -c 1-64
}

verify() { # FILE, by FILE.minisig
    if command -v minisign >/dev/null; then
        minisign -Vqm "$1" -x "$1.minisig" -P "$key" || die "the signature of ${1##*/} is wrong: nothing was installed"
    elif openssl version 2>/dev/null | grep -qE '^OpenSSL ([3-9]|[1-9][0-9])'; then
        verify_by_openssl "$1" || die "the signature of ${1##*/} is wrong: nothing was installed"
    else
        die "neither minisign nor OpenSSL 3 is here to check the signature with: install one of them first"
    fi
}

# Key: 2 bytes of algorithm, 8 of its number, 32. Signature: the same two, 64. Below it one over both and the comment.
verify_by_openssl() { # FILE
    cd "$work"
    printf %s "$key" | openssl base64 -d -A >key.raw
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'; tail -c 32 key.raw; } >key.der
    sed -n 2p "$1.minisig" | tr -d '\r\n' | openssl base64 -d -A >signature.raw
    sed -n 4p "$1.minisig" | tr -d '\r\n' | openssl base64 -d -A >above
    [ "$(head -c 10 key.raw | tail -c 8 | openssl base64)" = "$(head -c 10 signature.raw | tail -c 8 | openssl base64)" ] ||
        die "SHA256SUMS is signed by another key: nothing was installed"
    case $(head -c 2 signature.raw) in
    ED) openssl dgst -blake2b512 -binary "$1" >message ;;
    Ed) cp "$1" message ;;
    *) return 1 ;;
    esac
    tail -c 64 signature.raw >signature
    { cat signature; sed -n '3s/^trusted comment: //p' "$1.minisig" | tr -d '\r\n'; } >comment
    signed message signature && signed comment above
}

signed() { # MESSAGE SIGNATURE
    openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in "$1" -sigfile "$2" >/dev/null 2>&1
}

run() {
    say "$*"
    [ -n "$dry" ] || "$@"
}

say() { echo "${dry:+would: }$*"; }

die() {
    echo "install.sh: $*" >&2
    exit 1
}

# Last: of half a script nothing runs.
main "$@"
