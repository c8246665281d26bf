#!/bin/bash
# boot.sh SHARE COMMAND...: makes a root of its own, with the host's /usr read-only and everything else empty, and runs COMMAND as its PID 1.
# Nothing of the host can be written to but SHARE. start.sh calls it; it must not be called otherwise: systemd empties /tmp.
set -eu
[[ $$ -eq 1 ]] || { echo "boot.sh: not in a PID namespace of its own" >&2; exit 1; }
share=$1
shift
mount -t tmpfs -o mode=755,size=512m tmpfs /mnt
cd /mnt
mkdir -p usr etc run tmp var/log/journal var/tmp var/lib root proc sys dev mnt share old
mount --bind /usr usr
mount -o remount,bind,ro usr
for link in bin lib lib64 sbin; do ln -s "usr/$link" "$link"; done
for file in passwd group nsswitch.conf ld.so.cache localtime dbus-1 alternatives; do
  cp -a "/etc/$file" etc/ 2>/dev/null || true
done
mkdir -p etc/systemd/system
echo "ID=debian" >etc/os-release
head -c16 /dev/urandom | od -An -tx1 | tr -d ' \n' >etc/machine-id
echo >>etc/machine-id
chmod 1777 tmp var/tmp
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p "$share/run" "$share/journal"
mount --bind "$share/run" run
mkdir -p run/lock run/dbus
mount --bind "$share/journal" var/log/journal
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
ln -s /run/systemd/journal/dev-log dev/log
mount --bind "$share" share
pivot_root . old
cd /
umount -l /old
rmdir /old
hostname holdfast-test
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other SYSTEMD_UNIT_PATH=/share/units LANG=C "$@"
