#!/bin/sh
# When the files are gone. What was collected stays, whatever is removed: nobody else may have it.
set -e
case "$1" in
remove | 0)
	[ ! -d /run/systemd/system ] || systemctl daemon-reload || true
	;;
purge)
	if [ "$HOLDFAST_PURGE" = data ]; then
		rm -rf /var/lib/holdfast /var/lib/holdfast-supervise
		if getent passwd holdfast >/dev/null; then userdel holdfast || true; fi
	elif [ -d /var/lib/holdfast ]; then
		echo "The data in /var/lib/holdfast stay, and the user holdfast who owns them."
		echo "To let them go: rm -r /var/lib/holdfast /var/lib/holdfast-supervise; userdel holdfast"
	fi
	;;
esac
