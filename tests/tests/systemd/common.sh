# What the scripts of the systemd guest share. RUNTIME, PEER and BUSYBOX are set by the test.
set -eu
dir=$(mktemp -d)
chmod 755 $dir
cd $dir
check() { [ "$2" = "$3" ] || { echo "$1: is $2, not $3"; exit 1; }; }
gone() { check "$1 left" "$([ -e $2 ] && echo yes || echo no)" no; }
# bundle NAME FILTER: a bundle whose config.json is CONFIG changed by a jq filter.
bundle() {
	mkdir -p $dir/$1/rootfs/bin $dir/$1/rootfs/proc $dir/$1/rootfs/sys $dir/$1/rootfs/dev
	cp "$BUSYBOX" $dir/$1/rootfs/bin/busybox
	for a in sh sleep cat ls mkdir head id; do ln -sf busybox $dir/$1/rootfs/bin/$a; done
	jq "$2" $dir/config.json >$dir/$1/config.json
}
# unit NAME: the properties that both runtimes must agree on, names and order evened out.
systemd_properties() {
	systemctl show "$1" -p Description,Slice,Delegate,MemoryAccounting,CPUAccounting,IOAccounting,BlockIOAccounting,TasksAccounting \
		-p DefaultDependencies,MemoryMax,MemoryLimit,MemoryLow,MemorySwapMax,CPUWeight,CPUShares,CPUQuotaPerSecUSec,CPUQuotaPeriodUSec,TasksMax \
		-p DevicePolicy,DeviceAllow,TimeoutStopUSec,CollectMode,ActiveState,SubState,LoadState,BlockIOWeight |
		sort | sed "s/$2/NAME/g; s/char-pts/char-136/"
}
unit() { systemd_properties "$@"; }
until systemctl is-system-running --wait >/dev/null 2>&1 || [ "$(systemctl is-system-running)" = degraded ]; do sleep 0.1; done
