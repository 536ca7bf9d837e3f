# Sourced by the guest's init when systemd is to be process 1: in $root a target that runs /run/guest, and nothing that a guest has no use
# for. systemd-tmpfiles would empty /tmp.
mkdir -p $root/run/systemd/system/guest.target.wants
chmod 755 $root/run
cat >$root/run/systemd/system/guest.target <<'INNER'
[Unit]
Requires=sysinit.target dbus.socket
After=sysinit.target dbus.socket
AllowIsolate=yes
INNER
cat >$root/run/systemd/system/guest.service <<INNER
[Unit]
After=sysinit.target dbus.socket
[Service]
Environment=PATH=$PATH HOME=/root TERM=dumb GUEST_DIR=$GUEST_DIR GUEST_SYSTEMD=$GUEST_SYSTEMD
ExecStart=/run/guest
LimitNOFILE=1048576
Delegate=yes
INNER
ln -s ../guest.service $root/run/systemd/system/guest.target.wants/
# systemd takes a machine with this file for a container, and does not read the kernel's command line.
rm -f $root/.dockerenv $root/run/.containerenv
: >$root/etc/machine-id
: >$root/etc/fstab
for unit in tmp.mount systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer systemd-udevd.service \
	systemd-udev-trigger.service systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-journal-flush.service \
	systemd-hwdb-update.service systemd-timesyncd.service systemd-sysusers.service systemd-update-done.service ldconfig.service \
	systemd-random-seed.service systemd-modules-load.service modprobe@.service dev-hugepages.mount systemd-update-utmp.service; do
	ln -sf /dev/null $root/run/systemd/system/$unit
done
next="/lib/systemd/systemd --unit=guest.target --log-target=null --show-status=0"
