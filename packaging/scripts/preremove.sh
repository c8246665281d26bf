#!/bin/sh
# Before the files go. dpkg says "remove" or "upgrade"; rpm says 0 when nothing of it stays.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
units="holdfast.service holdfast-wsprnet.service holdfast-supervise.service"
if [ -d /run/systemd/system ]; then
	systemctl disable --now $units || true
elif command -v systemctl >/dev/null; then
	systemctl disable $units || true
fi
