#!/bin/sh
# Behind the unpacking. dpkg says "configure" and the version that was configured before; rpm says 1, and 2 of an upgrade.
set -e
case "$1" in
configure) before=$2 ;;
1) before= ;;
2) before=yes ;;
*) exit 0 ;; # an upgrade or a removal was given up: nothing is as it was not
esac

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers /usr/lib/sysusers.d/holdfast.conf
elif ! getent passwd holdfast >/dev/null; then
	useradd --system --user-group --home-dir /var/lib/holdfast --no-create-home --shell /usr/sbin/nologin holdfast
fi
[ -d /var/lib/holdfast ] || install -d -o holdfast -g holdfast -m 0750 /var/lib/holdfast

# Secrets may stand in it: for root, and for the service.
if [ -z "$before" ]; then
	chgrp holdfast /etc/holdfast/holdfast.yaml
	chmod 0640 /etc/holdfast/holdfast.yaml
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	# What runs goes on with the new version, where it was; what does not run stays so.
	[ -z "$before" ] || systemctl try-restart holdfast.service holdfast-wsprnet.service holdfast-supervise.service || true
fi

if [ -z "$before" ]; then
	cat <<-'TEXT'
	Holdfast is installed, and nothing runs yet. Next:
	  edit /etc/holdfast/holdfast.yaml      (man holdfast.yaml)
	  holdfast check -c /etc/holdfast/holdfast.yaml
	  systemctl enable --now holdfast
	TEXT
fi
