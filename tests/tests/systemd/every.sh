# What only Debian's own kernel has: processors and memory nodes of a unit, pressure, and CRIU.
ours() { $RUNTIME --root $dir/state --systemd-cgroup "$@"; }
theirs() { $PEER --root $dir/peer --systemd-cgroup "$@"; }
sets() {
	systemctl show $1 -p AllowedCPUs,AllowedMemoryNodes
	cat /sys/fs/cgroup/test.slice/$1/cpuset.cpus /sys/fs/cgroup/test.slice/$1/cpuset.mems
}
for runtime in ours theirs; do
	bundle $runtime ".linux.cgroupsPath = \"test.slice:box:$runtime\" | .linux.resources.cpu += {\"cpus\": \"0\", \"mems\": \"0\"} | del(.annotations)"
	$runtime run -d -b $dir/$runtime $runtime </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
	sets box-$runtime.scope >$dir/$runtime.unit
done
diff theirs.unit ours.unit
grep -q AllowedCPUs=0 ours.unit
scope=/sys/fs/cgroup/test.slice/box-ours.scope
ours update -r - ours <<<'{"blockIO": {"weight": 500}, "unified": {"cpuset.cpus": "0"}}'
check "weight" "$(systemctl show box-ours.scope -p IOWeight)" IOWeight=4950
check "weight in force" "$(cat $scope/io.bfq.weight $scope/io.weight 2>/dev/null | head -n 1)" "$([ -e $scope/io.bfq.weight ] && echo default 500 || echo default 4950)"
ours events --stats ours >$dir/stats
for part in cpu memory blkio; do
	check "pressure of $part" "$(jq -r ".data.$part.psi.some.total | type" $dir/stats)" number
done
theirs delete --force theirs

# A checkpointed container comes back in a scope. Pipes as standard streams: CRIU cannot restore the host's files.
ours delete --force ours
piped() { (sleep 1000 | ours "$@" 2>&1 | cat >$dir/log) & }
running() { for _ in $(seq 60); do [ "$(ours state ours 2>/dev/null | jq -r .status)" != running ] || return 0; sleep 0.2; done; cat $dir/log; exit 1; }
piped run -d -b $dir/ours ours
running
ours checkpoint --image-path $dir/image ours >$dir/dump 2>&1 || { cat $dir/dump; exit 1; }
check "unit of the checkpointed" "$(systemctl show box-ours.scope -p LoadState)" LoadState=not-found
piped restore -d -b $dir/ours --image-path $dir/image ours
running
check "restored unit" "$(systemctl show box-ours.scope -p ActiveState)" ActiveState=active
check "restored process" "$(cat $scope/cgroup.procs)" "$(ours state ours | jq .pid)"
check "restored limit" "$(cat $scope/pids.max) $(systemctl show box-ours.scope -p TasksMax)" "25 TasksMax=25"
ours delete --force ours
gone directory $scope
echo every controller checked
