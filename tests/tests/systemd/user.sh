# The manager of an ordinary user: the same units as Debian's runc makes there, and a cgroup that its container may divide further.
useradd -u 1500 -m user
systemctl start user@1500.service
bus=unix:path=/run/user/1500/bus
as() { setpriv --reuid 1500 --regid 1500 --clear-groups env -i PATH=$PATH XDG_RUNTIME_DIR=/run/user/1500 ${bus:+DBUS_SESSION_BUS_ADDRESS=$bus} "$@"; }
ours() { as $RUNTIME --systemd-cgroup "$@"; }
theirs() { as $PEER --root /run/user/1500/peer --systemd-cgroup "$@"; }
show() { as systemctl --user show "$@"; }
# As in common.sh, but asked of the user's manager.
unit() { as bash -c "$(declare -f systemd_properties); systemctl() { command systemctl --user \"\$@\"; }; systemd_properties $1 $2"; }
top=/sys/fs/cgroup/user.slice/user-1500.slice/user@1500.service
private='.linux.namespaces += [{"type": "user"}, {"type": "cgroup"}]
	| .linux.uidMappings = [{"containerID": 0, "hostID": 1500, "size": 1}] | .linux.gidMappings = .linux.uidMappings
	| .mounts += [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev"]}]
	| del(.linux.devices)'
for runtime in ours theirs; do
	bundle $runtime "$private | .linux.cgroupsPath = \"user.slice:box:$runtime\""
	chown -R 1500:1500 $dir/$runtime
	$runtime run -d -b $dir/$runtime $runtime </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
	unit box-$runtime.scope $runtime >$dir/$runtime.unit
	cat $top/user.slice/box-$runtime.scope/{memory.max,memory.low,pids.max,cpu.max,cpu.weight} >$dir/$runtime.limits
done
diff theirs.unit ours.unit
diff theirs.limits ours.limits
grep -q '^MemoryMax=33554432' ours.unit
scope=$top/user.slice/box-ours.scope
check "the first process' place" "$(cat $scope/cgroup.procs)" "$(ours state ours | jq .pid)"
check "owner" "$(stat -c %u $scope/cgroup.subtree_control)" 1500
ours update --pids-limit 44 ours
check "update" "$(cat $scope/pids.max) $(show box-ours.scope -p TasksMax)" "44 TasksMax=44"

# The container divides its cgroup; exec goes where its first process went, or where it is told to.
ours exec ours sh -c 'mkdir /sys/fs/cgroup/first /sys/fs/cgroup/other && echo 1 >/sys/fs/cgroup/first/cgroup.procs'
ours exec --cgroup other ours cat /proc/self/cgroup >$dir/log
check "exec into a sub-cgroup" "$(cat $dir/log)" 0::/other
ours exec ours sh -c 'echo $$ >/sys/fs/cgroup/first/cgroup.procs && echo +pids >/sys/fs/cgroup/cgroup.subtree_control'
check "exec beside the first process" "$(ours exec ours cat /proc/self/cgroup)" 0::/first
for wrong in ../box-theirs.scope first/../../x nothing; do
	if ours exec --cgroup $wrong ours cat /proc/self/cgroup 2>$dir/log; then echo "$wrong: no error"; exit 1; fi
done
check "all processes" "$(ours ps -f json ours | jq length)" 1
ours kill ours KILL
until [ "$(ours state ours | jq -r .status)" = stopped ]; do sleep 0.1; done
ours delete ours
theirs delete --force theirs
gone directory $scope
check "unit" "$(show box-ours.scope -p LoadState)" LoadState=not-found

# Without a variable for the bus it is found below XDG_RUNTIME_DIR, and without a bus the manager's own socket.
bundle plain "$private | del(.linux.cgroupsPath)"
chown -R 1500:1500 $dir/plain
bus=
ours run -d -b $dir/plain plain </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
check "default" "$(cat $top/user.slice/runc-plain.scope/cgroup.procs)" "$(ours state plain | jq .pid)"
ours delete --force plain
bus=unix:path=/nonexistent
ours run -d -b $dir/plain plain </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
ours delete --force plain
gone "the default's directory" $top/user.slice/runc-plain.scope
echo user manager checked
