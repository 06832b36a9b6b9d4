# Make the account of the web app, which may ask rotad and act through it, and put its command where people look for it.
# Prints what it made.
set -eu
getent group rota-operators >/dev/null || { groupadd --system rota-operators; echo "group rota-operators"; }
getent passwd rota-web >/dev/null || {
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rota-web
  echo "account rota-web"
}
id -nG rota-web | grep -qw rota-operators || { usermod -aG rota-operators rota-web; echo "rota-web in rota-operators"; }
[ "$(readlink /usr/local/bin/rota-web || :)" = "$1/bin/rota-web" ] || {
  ln -sfn "$1/bin/rota-web" /usr/local/bin/rota-web
  echo "command rota-web"
}
