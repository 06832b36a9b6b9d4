# Make what is missing of the package's own account, of the groups that may read and act (rotad's socket), and of the account
# without any rights that runs sites' own checks. Prints what it made, and `not installed` when the virtual environment $1 is
# not there or not complete. With `look` as $2 it makes nothing.
set -eu
[ -e "$1/.complete" ] || echo "not installed"
[ "$2" != look ] || exit 0
getent passwd rota >/dev/null || {
  useradd --system --user-group --no-create-home --home-dir /var/lib/rota --shell /usr/sbin/nologin rota
  echo "account rota"
}
for group in rota-viewers rota-operators; do
  getent group "$group" >/dev/null || { groupadd --system "$group"; echo "group $group"; }
done
getent passwd rota-check >/dev/null || {
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rota-check
  echo "account rota-check"
}
# what deep checks log in with
[ -d /etc/rota/credentials ] || { mkdir -p -m 0700 /etc/rota/credentials; echo "folder credentials"; }
