#!/bin/sh
# First process of the guest, from its initial file system. It reaches the host's root over 9p, read only, lays a tmpfs over it, mounts what a
# machine with cgroup v2 has, runs $GUEST_DIR/script (below systemd where $GUEST_SYSTEMD is set), tells the exit code, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t sysfs sysfs /sys
for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe $module; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
mount -t tmpfs -o size=80%,mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
root=/mnt/root
mount -t overlay -o lowerdir=/host,upperdir=/mnt/upper,workdir=/mnt/work overlay $root || poweroff -f
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
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 $root/sys/fs/cgroup
mount -t securityfs securityfs $root/sys/kernel/security
mount -t bpf bpf $root/sys/fs/bpf
mkdir -p $root/lib/modules
mount -o bind /host$GUEST_KERNEL/lib/modules $root/lib/modules
cat >$root/run/guest <<'INNER'
#!/bin/bash
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/ptmx ] || ln -s pts/ptmx /dev/ptmx
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
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
# No program: the host's files may be out of reach already.
while :; do :; done
INNER
chmod +x $root/run/guest
next=/run/guest
[ -z "$GUEST_SYSTEMD" ] || . $root$GUEST_DIR/systemd
cd $root
mount -o move . /
exec chroot . $next
