# The machine's manager: the same units, limits and end as Debian's runc makes for the same configuration.
ours() { $RUNTIME --root $dir/state --systemd-cgroup "$@"; }
theirs() { $PEER --root $dir/peer --systemd-cgroup "$@"; }
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then v2=yes cg=/sys/fs/cgroup; else v2= cg=/sys/fs/cgroup/memory; fi
slice=$cg/test.slice/test-deep.slice
limits() { # the files of a unit
	if [ $v2 ]; then (cd $slice/$1 && head -n 3 memory.max memory.low pids.max cpu.max cpu.weight); else
		for f in memory/memory.limit_in_bytes pids/pids.max cpu,cpuacct/cpu.cfs_quota_us cpu,cpuacct/cpu.shares; do
			cat /sys/fs/cgroup/${f%/*}/test.slice/test-deep.slice/$1/${f#*/}; done; fi; }
for runtime in ours theirs; do
	bundle $runtime ".linux.cgroupsPath = \"test-deep.slice:box:$runtime\""
	$runtime create -b $dir/$runtime $runtime </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
	$runtime start $runtime
	unit box-$runtime.scope $runtime >$dir/$runtime.unit
	limits box-$runtime.scope >$dir/$runtime.limits
done
diff theirs.unit ours.unit
diff theirs.limits ours.limits
grep -q '^DevicePolicy=strict' ours.unit
grep -q '^TimeoutStopUSec=7s' ours.unit
check "state" "$(ours state ours | jq -r .status)" running
check "the first process' place" "$(cat $slice/box-ours.scope/cgroup.procs)" "$(ours state ours | jq .pid)"
check "exec's place" "$(ours exec ours cat /proc/self/cgroup | grep -c box-ours)" "$(ours exec ours cat /proc/self/cgroup | wc -l)"
check "refused device" "$(ours exec ours sh -c 'head -c 1 /dev/refused 2>/dev/null || echo no')" no
check "granted device" "$(ours exec ours sh -c 'head -c 1 /dev/granted >/dev/null && echo yes')" yes
ours pause ours
check "paused" "$(ours state ours | jq -r .status)" paused
ours resume ours

for runtime in ours theirs; do
	$runtime update --memory 50331648 --pids-limit 44 --cpu-quota 30000 --cpu-period 100000 --cpu-share 2 $runtime
	unit box-$runtime.scope $runtime >$dir/$runtime.unit
	limits box-$runtime.scope >$dir/$runtime.limits
done
diff theirs.unit ours.unit
diff theirs.limits ours.limits
grep -q '^TasksMax=44' ours.unit
# A daemon-reload has systemd write everything anew: what it does not know is lost, what it was told stays.
systemctl daemon-reload
limits box-ours.scope >$dir/after
diff ours.limits after
check "device after reload" "$(ours exec ours sh -c 'head -c 1 /dev/granted >/dev/null && echo yes')" yes
check "refused after reload" "$(ours exec ours sh -c 'head -c 1 /dev/refused 2>/dev/null || echo no')" no
[ ! $v2 ] || ours update -r - ours <<<'{"unified": {"memory.high": "40960000"}}'
[ ! $v2 ] || check "unified" "$(systemctl show box-ours.scope -p MemoryHigh)" MemoryHigh=$(cat $slice/box-ours.scope/memory.high)
# An update of which a part fails changes nothing.
before=$(unit box-ours.scope ours; limits box-ours.scope)
if ours update -r - ours <<<'{"pids": {"limit": 33}, "hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}' 2>$dir/log; then echo "no error"; exit 1; fi
check "the failed update" "$(unit box-ours.scope ours; limits box-ours.scope)" "$before"

# A second container of that name, and what an end leaves.
bundle second '.linux.cgroupsPath = "test-deep.slice:box:ours"'
if ours create -b $dir/second second </dev/null >$dir/log 2>&1; then echo "a second container got the unit"; exit 1; fi
grep -q 'not empty' $dir/log || { cat $dir/log; exit 1; }
check "still there" "$(ours state ours | jq -r .status)" running
ours delete --force ours
theirs delete --force theirs
gone directory $slice/box-ours.scope
check "unit" "$(systemctl show box-ours.scope -p LoadState)" LoadState=not-found
ours run -d -b $dir/ours ours </dev/null >$dir/log 2>&1
ours kill ours KILL
until [ "$(ours state ours | jq -r .status)" = stopped ]; do sleep 0.1; done
ours delete ours
check "unit after kill" "$(systemctl show box-ours.scope -p LoadState)" LoadState=not-found

# A create that fails leaves nothing; nor does one that is refused by systemd.
bundle wrong '.process.args = ["/bin/nothing"] | .linux.cgroupsPath = "test-deep.slice:box:wrong"'
if ours create -b $dir/wrong wrong </dev/null >$dir/log 2>&1; then echo "no error"; exit 1; fi
check "unit of a failure" "$(systemctl show box-wrong.scope -p LoadState)" LoadState=not-found
gone "its directory" $slice/box-wrong.scope
bundle bad '.annotations["org.systemd.property.NoSuchThing"] = "true" | .linux.cgroupsPath = "test-deep.slice:box:bad"'
if ours create -b $dir/bad bad </dev/null >$dir/log 2>&1; then echo "no error"; exit 1; fi
grep -q 'unable to start unit' $dir/log || { cat $dir/log; exit 1; }
check "containers" "$(ours list -q)" ""
for path in /not/a/unit a:b a-.slice:x:y; do
	bundle odd ".linux.cgroupsPath = \"$path\""
	if ours create -b $dir/odd odd </dev/null >$dir/log 2>&1; then echo "$path: no error"; exit 1; fi
	rm -rf $dir/odd
done
# Without a path it is runc-ID.scope in system.slice, and a name that ends in .slice is a slice of its own.
bundle plain 'del(.linux.cgroupsPath)'
ours run -d -b $dir/plain plain </dev/null >$dir/log 2>&1
check "default" "$(systemctl show runc-plain.scope -p Slice)" Slice=system.slice
ours delete --force plain
# The private socket of process 1, where there is no bus.
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent ours run -d -b $dir/plain plain </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent ours delete --force plain
check "unit by the private socket" "$(systemctl show runc-plain.scope -p LoadState)" LoadState=not-found
[ ! $v2 ] || ours run -d -b $dir/plain plain </dev/null >$dir/log 2>&1
[ ! $v2 ] || { ours update -r - plain <<<'{"unified": {"memory.max": "20000000"}}'; ours exec plain sh -c 'a=$(head -c 40000000 /dev/zero | cat -v)' || true; ours delete --force plain; }
check "unit that ran out of memory" "$(systemctl show runc-plain.scope -p LoadState)" LoadState=not-found

# What an earlier unit left under the name, failed, is no hindrance.
systemd-run --quiet --scope --unit=box-left.scope -p RuntimeMaxSec=1 sleep 100 >/dev/null 2>&1 || true
check "leftover" "$(systemctl show box-left.scope -p ActiveState)" ActiveState=failed
bundle left 'del(.annotations) | .linux.cgroupsPath = ":box:left"'
ours run -d -b $dir/left left </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
check "in its place" "$(systemctl show box-left.scope -p ActiveState)" ActiveState=active
if [ $v2 ]; then
	ours update -r - left <<<'{"cpu": {"idle": 1}}'
	check "idle" "$(cat /sys/fs/cgroup/system.slice/box-left.scope/cpu.idle) $(systemctl show box-left.scope -p CPUWeight)" "1 CPUWeight=idle"
	# A name that ends in .slice is a slice, which only has the process because it enters by itself.
	bundle slice '.annotations = {} | .linux.cgroupsPath = "test.slice::test-inner.slice"'
	ours run -d -b $dir/slice slice </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
	check "slice" "$(cat /sys/fs/cgroup/test.slice/test-inner.slice/cgroup.procs)" "$(ours state slice | jq .pid)"
	ours delete --force slice
	check "slice's unit" "$(systemctl show test-inner.slice -p ActiveState)" ActiveState=inactive
fi
# With force a container goes although its manager cannot be reached; systemd sees the end of its unit by itself.
mv /run/systemd/private /run/systemd/moved
if DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent ours delete --force left >$dir/log 2>&1; then :; else cat $dir/log; exit 1; fi
mv /run/systemd/moved /run/systemd/private
check "containers left" "$(ours list -q)" ""
until [ "$(systemctl show box-left.scope -p LoadState)" = LoadState=not-found ]; do sleep 0.1; done
echo system manager checked
