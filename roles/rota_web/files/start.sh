# Enable and start the app; start it anew when the installation that it runs from has been switched since. Prints what it did.
set -eu
systemctl is-enabled -q rota-web.service || { systemctl enable -q rota-web.service; echo enabled; }
systemctl is-active -q rota-web.service || { systemctl start rota-web.service; echo started; }
began=$(systemctl show --value --property=ActiveEnterTimestamp rota-web.service)
[ "$(stat -c %Y "$1")" -le "$(date -d "$began" +%s)" ] || { systemctl restart rota-web.service; echo restarted; }
