# Enable the app and, with `run` as $2, start it; start it anew when the installation that it runs from ($1) has been switched
# since. Prints what it did.
set -eu
systemctl is-enabled -q rota-web.service || { systemctl enable -q rota-web.service; echo enabled; }
[ "$2" = run ] || exit 0
systemctl is-active -q rota-web.service || { systemctl start rota-web.service; echo started; }
began=$(systemctl show --value --property=ActiveEnterTimestamp rota-web.service)
[ "$(stat -c %Y "$1")" -le "$(date -d "$began" +%s)" ] || { systemctl restart rota-web.service; echo restarted; }
