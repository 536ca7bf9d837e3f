# Runs in the guest: $OURS is runc-rs, $RUNC is Debian's runc.
set -u
ok() { echo "ok: $1"; }
fail() { echo "FAILED: $1"; shift; for file in "$@"; do echo "--- $file"; tail -30 "$file"; done; exit 1; }
within() { # within SECONDS COMMAND: until it succeeds
	local end=$((SECONDS + $1)); shift
	until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.3; done
}
mkdir "$work"
cd "$work"
mkdir -p b/rootfs/bin data
cp "$(command -v busybox)" b/rootfs/bin/
for applet in sh sleep cat readlink; do ln -s busybox b/rootfs/bin/$applet; done

bundle() { cp "$CONFIGS/$1" b/config.json; }
last() { tail -n 1 "$1" 2>/dev/null || echo 0; }
beyond() { [ "$(last "$1")" -gt "$2" ]; }
# begin RUNTIME ID OUT: the counter with pipes for its standard streams
begin() { (sleep 1000 | "$1" run -d -b b "$2" 2>&1 | cat >"$3") & within 60 beyond "$3" 2 || fail "$2 does not count" "$3"; }
# again RUNTIME ID OUT IMAGES [FLAGS]: restored, with pipes too
again() {
	local runtime=$1 id=$2 out=$3 images=$4; shift 4
	(sleep 1000 | "$runtime" restore -d -b b --image-path "$images" "$@" "$id" 2>&1 | cat >"$out") &
}
gone() { ! "$1" state "$2"; }
leftovers() {
	grep -q criu-root /proc/self/mountinfo && fail "$1: a mount is left"
	[ -z "$(ls /run/runc-rs 2>/dev/null)" ] || fail "$1: state is left"
	for id in "${@:2}"; do [ ! -e /sys/fs/cgroup/$id ] || fail "$1: a cgroup is left"; done
}

# 1. Dump, and restore: the count goes on, limits and mounts are in force, exec works.
bundle limited
begin "$OURS" c1 out1
"$OURS" checkpoint --image-path "$work"/img1 --work-path work1 c1 || fail "checkpoint" work1/dump.log
[ -f work1/dump.log ] || fail "the log is not in the work directory"
gone "$OURS" c1 || fail "a checkpointed container is still there"
leftovers "checkpoint" c1
count=$(last out1)
ok "checkpoint"
again "$OURS" c1 out2 "$work"/img1 --pid-file "$work"/pid1
within 60 beyond out2 $((count + 2)) || fail "the restored container does not go on from $count" out2 img1/restore.log
[ "$(head -n 1 out2)" -ge "$count" ] || fail "the count began anew" out2
pid=$(cat pid1)
state=$("$OURS" state c1)
for wanted in '"status": "running"' "\"pid\": $pid" '"a": "b"'; do
	case $state in *"$wanted"*) ;; *) fail "state without $wanted: $state" ;; esac
done
[ "$(cat /sys/fs/cgroup/c1/memory.max)" = 104857600 ] || fail "the limit is not in force"
grep -qx "$pid" /sys/fs/cgroup/c1/cgroup.procs || fail "the process is not in its cgroup"
[ "$("$OURS" exec c1 readlink /proc/self/ns/time)" = "$(readlink /proc/$pid/ns/time)" ] || fail "exec is in another time namespace"
echo hello >data/file
[ "$("$OURS" exec c1 cat /data/file)" = hello ] || fail "the bind mount is not there"
ok "restore"

# 2. Pre-dump, and a dump that leaves the container running.
"$OURS" checkpoint --pre-dump --image-path "$work"/pre c1 || fail "pre-dump" pre/dump.log
"$OURS" checkpoint --leave-running --parent-path ../pre --image-path "$work"/img2 c1 || fail "dump on a pre-dump" img2/dump.log
[ -e img2/parent ] || fail "the pre-dump was not used"
count=$(last out2)
within 60 beyond out2 $((count + 2)) || fail "the container was not left running" out2
ok "pre-dump and leave-running"
"$OURS" delete --force c1 || fail "delete"
leftovers "delete" c1

# 3. What runc dumped, ours restores; and the other way round.
bundle plain
begin "$RUNC" c2 out3
"$RUNC" checkpoint --image-path "$work"/img3 c2 || fail "runc checkpoint" img3/dump.log
count=$(last out3)
again "$OURS" c2 out4 "$work"/img3
within 60 beyond out4 $((count + 2)) || fail "what runc dumped is not restored" out4 img3/restore.log
"$OURS" checkpoint --image-path "$work"/img4 c2 || fail "checkpoint of a restored container" img4/dump.log
count=$(last out4)
again "$RUNC" c3 out5 "$work"/img4
within 60 beyond out5 $((count + 2)) || fail "runc does not restore what ours dumped" out5 img4/restore.log
"$RUNC" delete --force c3
ok "images are those of runc"

# 4. A network namespace from outside, and hooks.
ip netns add outside
bundle joined
begin "$OURS" c4 out6
rm -f hook
"$OURS" checkpoint --image-path "$work"/img5 c4 || fail "checkpoint with a joined network" img5/dump.log
[ -f poststop ] || fail "poststop did not run"
count=$(last out6)
again "$OURS" c4 out7 "$work"/img5 --pid-file "$work"/pid4
within 60 beyond out7 $((count + 2)) || fail "restore into a network namespace" out7 img5/restore.log
[ "$(stat -Lc %i /proc/$(cat pid4)/ns/net)" = "$(stat -Lc %i /run/netns/outside)" ] || fail "another network namespace"
grep -q "\"pid\":$(cat pid4)[,}]" hook || fail "createRuntime was told another process" hook
"$OURS" delete --force c4
ip netns del outside
leftovers "joined namespaces" c4
ok "joined network namespace and hooks"

# 5. In the foreground, with the exit code of what was restored; a terminal comes along.
bundle terminal
(sleep 1000 | script -qfc "$OURS run -b b c5" out8 >/dev/null 2>&1) &
within 60 grep -q 3 out8 || fail "a terminal" out8
"$OURS" checkpoint --image-path "$work"/img6 c5 || fail "checkpoint with a terminal" img6/dump.log
(sleep 1000 | script -qfec "$OURS restore -b b --image-path $work/img6 c5" out9 >/dev/null 2>&1) &
within 60 sh -c "[ \$(grep -c . out9) -gt 4 ]" || fail "restore with a terminal" out9 img6/restore.log
touch data/stop
within 60 grep -q 'COMMAND_EXIT_CODE="7"' out9 || fail "the exit code of the restored container" out9
within 10 gone "$OURS" c5 || fail "a container that ended in the foreground is still there"
leftovers "foreground" c5
ok "foreground with a terminal"

# 6. What cannot be done is said, and leaves nothing.
rm data/stop
bundle plain
"$OURS" create -b b c6 </dev/null >/dev/null 2>&1
said=$("$OURS" checkpoint --image-path "$work"/img7 c6 2>&1) && fail "a created container was checkpointed"
case $said in *"Container cannot be checkpointed in created state"*) ;; *) fail "said: $said" ;; esac
"$OURS" delete c6
said=$("$OURS" checkpoint --image-path "$work"/img7 c6 2>&1) && fail "an unknown container was checkpointed"
case $said in *"container does not exist"*) ;; *) fail "said: $said" ;; esac
said=$("$OURS" restore -d -b b --image-path nowhere c6 2>&1) && fail "restored from nowhere"
case $said in *nowhere*"no such file or directory"*) ;; *) fail "said: $said" ;; esac
rm img1/core-1.img
said=$("$OURS" restore -d -b b --image-path "$work"/img1 c6 2>&1 </dev/null | cat) 
case $said in *"No core-1.img image"*"criu failed: type RESTORE"*) ;; *) fail "said: $said" ;; esac
said=$(PATH=/nonexistent "$OURS" restore -d -b b --image-path "$work"/img3 c6 2>&1) && fail "restored without criu"
case $said in *'executable file not found in $PATH'*) ;; *) fail "said: $said" ;; esac
said=$("$OURS" checkpoint --manage-cgroups-mode hard c6 2>&1) && fail "a mode that is none"
case $said in *"Invalid manage-cgroups-mode value"*) ;; *) fail "said: $said" ;; esac
leftovers "refusals" c6
ok "refusals"
[ -z "$(pgrep -x criu)" ] || fail "a criu process is left"
exit 0
