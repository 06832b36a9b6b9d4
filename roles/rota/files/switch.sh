# Point $1/current at $2 in one step, put the command where people and keepalived look for it, forget old installations
# beyond the $3 newest. Prints what it did; nothing when there was nothing to do.
set -eu

link() { # TARGET PLACE
  [ "$(readlink "$2" || :)" = "$1" ] && return
  mkdir -p "$(dirname "$2")"
  ln -s "$1" "$2.new"
  mv -T "$2.new" "$2"
  echo "$2 -> $1"
}

rm -f "$1/current.new" "$1/bin/rota.new" /usr/local/bin/rota.new
link "$2" "$1/current"
link ../current/bin/rota "$1/bin/rota"
link "$1/bin/rota" /usr/local/bin/rota

kept=0
for complete in $(ls -t "$1"/venvs/*/.complete); do
  folder=$(dirname "$complete")
  [ "$folder" = "$1/$2" ] && continue
  kept=$((kept + 1))
  [ "$kept" -le "$3" ] || { rm -rf "$folder"; echo "removed $folder"; }
done
for folder in "$1"/venvs/*; do
  [ -e "$folder/.complete" ] || { rm -rf "$folder"; echo "removed $folder, which was never finished"; }
done
