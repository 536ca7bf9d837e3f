#!/bin/sh
# First process of the guest. Its root is the host's, read only; it lays a tmpfs over it, mounts what a machine with cgroup v2 has,
# runs $GUEST_DIR/script (below systemd where $GUEST_SYSTEMD is set), tells the exit code, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t tmpfs -o size=80%,mode=755 tmpfs /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/root /mnt/lib /mnt/lib/lib
mount --bind / /mnt/lower
ln -s /usr/lib/uml/modules /mnt/lib/lib/modules
modprobe -d /mnt/lib overlay
root=/mnt/root
mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work overlay $root || { echo "no overlay"; halt -f -p; }
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t devtmpfs devtmpfs $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts $root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs $root/dev/shm
mount -t mqueue mqueue $root/dev/mqueue
for d in run tmp var/lib/containers var/lib/containerd var/lib/docker; do
	mkdir -p $root/$d
	mount -t tmpfs -o mode=1777,size=80% tmpfs $root/$d
done
# For v1, systemd mounts the hierarchies itself.
[ "$GUEST_SYSTEMD" = v1 ] || mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 $root/sys/fs/cgroup
mount -t bpf bpf $root/sys/fs/bpf 2>/dev/null
mkdir -p $root/lib/modules
mount --bind /usr/lib/uml/modules $root/lib/modules
cat >$root/run/guest <<'INNER'
#!/bin/bash
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/ptmx ] || ln -s pts/ptmx /dev/ptmx
stty -F /dev/tty1 raw -echo 2>/dev/null
exec </dev/null >/dev/tty1 2>&1
ip link set lo up
hostname guest
[ -n "$GUEST_SYSTEMD" ] || for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$controller >/sys/fs/cgroup/cgroup.subtree_control; done
ulimit -n 1048576
cd /tmp
bash "$GUEST_DIR/script"
echo "guest-exit-code=$?"
sync
sleep 0.2
echo o >/proc/sysrq-trigger
sleep 5
INNER
chmod +x $root/run/guest
next=/run/guest
[ -z "$GUEST_SYSTEMD" ] || . $GUEST_DIR/systemd
mkdir -p $root/run/old
cd $root && pivot_root . run/old 2>/dev/null || mount --move . /
exec chroot . $next
