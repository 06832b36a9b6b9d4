#!/bin/sh
# Keeps the words of each VRRP group in /run/rota/track, from which keepalived takes this node's priority:
#   role-NAME   0 = it holds the group, 1 = it does not, and takes it from nobody
#   group-NAME  1 = it hands the group over: another node takes it first, then it lets go
#
#   vrrp role INSTANCE NAME STATE PRIORITY    keepalived's notify: bring the word in step with the role
#   vrrp hand-over SECONDS [GROUP...]         have another node take over; without GROUP, all that this node holds
#
# hand-over exits 1 when a group was not taken over in time; this node then goes on holding it.
set -u
track=${ROTA_TRACK:-/run/rota/track}

say() { # FILE NUMBER: in one step, keepalived must not read half a file
    { echo "$2" >"$track/.$1.$$" && mv "$track/.$1.$$" "$track/$1"; } || rm -f "$track/.$1.$$"
}

holds() { # GROUP
    [ "$(cat "$track/role-$1" 2>/dev/null)" = 0 ]
}

hand_over() {
    looks=$(($1 * 20))
    shift
    if [ $# -eq 0 ]; then
        for file in "$track"/role-*; do
            [ -e "$file" ] && set -- "$@" "${file##*/role-}"
        done
    fi
    moved=
    for group in "$@"; do
        holds "$group" && say "group-$group" 1 && moved="$moved $group"
    done
    waiting=$moved
    while [ -n "$waiting" ] && [ $looks -gt 0 ]; do
        looks=$((looks - 1))
        sleep 0.05
        left=
        for group in $waiting; do
            holds "$group" && left="$left $group"
        done
        waiting=$left
    done
    for group in $moved; do
        say "group-$group" 0
    done
    [ -z "$waiting" ]
}

case ${1:-} in
role)
    case ${4:-} in MASTER) say "role-$3" 0 ;; *) say "role-$3" 1 ;; esac
    exec logger -t rota-vrrp -- "$2 $3 $4 ${5:-}"
    ;;
hand-over)
    shift
    hand_over "$@"
    ;;
*)
    echo "usage: vrrp role INSTANCE NAME STATE [PRIORITY] | vrrp hand-over SECONDS [GROUP...]" >&2
    exit 2
    ;;
esac
