# Make a virtual environment at $1 from the wheelhouse $2. Not complete until everything in it has run once.
set -eu
rm -rf "$1"
mkdir -p "$1"
wheels=$(mktemp -d /var/lib/rota/wheels.XXXXXX)
trap 'rm -rf "$wheels"' EXIT
tar -xf "$2" -C "$wheels"
python3 -m venv --without-pip "$1"
# pip runs from its own wheel: a bare Debian has none
"$1/bin/python" "$(echo "$wheels"/pip-*.whl)/pip" install --quiet --no-index --find-links "$wheels" \
  --require-hashes --no-cache-dir --disable-pip-version-check --root-user-action ignore -r "$wheels/requirements.txt"
"$1/bin/rota" check --help >/dev/null
"$1/bin/rota" schema >/dev/null
"$1/bin/rotad" --version >/dev/null
touch "$1/.complete"
