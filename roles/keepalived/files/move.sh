# Hand the VRRP groups $@ over: say "not fit" for each until the other node has had time to take over, then be fit again.
# nopreempt keeps them there. If nobody takes them they come back, as soon as this node is fit again.
set -eu
track=/run/rota/track

say() { # NUMBER GROUP...: in one step, keepalived must not read half a file
  number=$1
  shift
  for group in "$@"; do
    echo "$number" >"$track/.group-$group"
    mv "$track/.group-$group" "$track/group-$group"
  done
}

trap 'say 0 "$@"' EXIT
say 1 "$@"
sleep 2
