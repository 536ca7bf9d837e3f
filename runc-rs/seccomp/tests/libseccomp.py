"""Makes libseccomp.json: random policies, each with the filter that libseccomp compiles of it.

Run with Debian's python3 and python3-seccomp: /usr/bin/python3 libseccomp.py > libseccomp.json
"""
import json, os, random, signal, tempfile
import seccomp as s

random.seed(20261122)
OPS = {"SCMP_CMP_NE": s.NE, "SCMP_CMP_LT": s.LT, "SCMP_CMP_LE": s.LE, "SCMP_CMP_EQ": s.EQ,
       "SCMP_CMP_GE": s.GE, "SCMP_CMP_GT": s.GT, "SCMP_CMP_MASKED_EQ": s.MASKED_EQ}
ACTIONS = {"SCMP_ACT_ALLOW": s.ALLOW, "SCMP_ACT_LOG": s.LOG, "SCMP_ACT_TRAP": s.TRAP,
           "SCMP_ACT_KILL_PROCESS": s.KILL_PROCESS, "SCMP_ACT_ERRNO": s.ERRNO(1)}
ARCHS = {"SCMP_ARCH_X86": s.Arch.X86, "SCMP_ARCH_X32": s.Arch.X32,
         "SCMP_ARCH_AARCH64": s.Arch.AARCH64, "SCMP_ARCH_ARM": s.Arch.ARM}
# Calls that x86 multiplexes (socketcall, ipc) are left out: libseccomp expands those, we do not.
MUX = set("""socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown
setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg semop semget semctl semtimedop msgsnd msgrcv msgget
msgctl shmat shmdt shmget shmctl""".split())


def names():
    for number in range(450):
        try:
            name = s.resolve_syscall(s.Arch(), number)
        except ValueError:
            continue
        name = name if isinstance(name, str) else name.decode()
        if name not in MUX:
            yield name


NAMES = list(names())
VALUES = [0, 1, 2, 0xff, 0xfffffffe, 0xffffffff, 0x100000000, 0x100000001, 0x7e020000, 2**63, 2**64 - 2, 2**64 - 1]


def value():
    return random.choice(VALUES + [random.getrandbits(64), random.getrandbits(32)])


def policy(wide):
    default = random.choice(list(ACTIONS))
    archs = [] if wide else random.sample(list(ARCHS), random.randint(0, 4))
    rules = []
    for name in random.sample(NAMES, random.randint(1, 30)):
        action = random.choice([a for a in ACTIONS if a != default])
        # Several rules that overlap in part are beyond libseccomp 2.5.4, which gives answers that none of them has:
        # one rule of any shape, or several that each want another value of one argument.
        if random.random() < 0.3:
            index = random.randrange(6)
            for first in random.sample(range(2**32), random.randint(2, 4)):
                args = [{"index": index, "value": first, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]
                rules.append({"names": [name], "action": action, "args": args})
            continue
        for _ in range(random.choice([0, 1, 1])):
            # 64-bit values on 32-bit architectures are cut by both, but masked ones differently: keep those narrow.
            cut = (lambda v: v) if not archs else (lambda v: v & 0xffffffff)
            indexes = random.sample(range(6), random.randint(1, 4))
            args = []
            for index in indexes:
                op = random.choice(list(OPS))
                first, second = cut(value()), cut(value())
                if op == "SCMP_CMP_MASKED_EQ":
                    second &= first
                args.append({"index": index, "value": first, "valueTwo": second if op == "SCMP_CMP_MASKED_EQ" else 0, "op": op})
            rules.append({"names": [name], "action": action, "args": args})
        if random.random() < 0.4:
            rules.append({"names": [name], "action": action})
    return {"defaultAction": default, "architectures": archs, "syscalls": rules}


def bpf(p):
    f = s.SyscallFilter(defaction=ACTIONS[p["defaultAction"]])
    f.set_attr(s.Attr.CTL_NNP, 0)
    for a in p["architectures"]:
        f.add_arch(ARCHS[a])
    for rule in p["syscalls"]:
        args = [s.Arg(a["index"], OPS[a["op"]], a["value"], a["valueTwo"]) for a in rule.get("args", [])]
        try:
            f.add_rule(ACTIONS[rule["action"]], rule["names"][0], *args)
        except (RuntimeError, OSError):
            return None
    with tempfile.TemporaryFile() as t:
        f.export_bpf(t)
        t.seek(0)
        return t.read().hex()


def in_child(p):
    """libseccomp never comes back from some policies: give each a second, in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(1)
        os.write(write, (bpf(p) or "").encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


out = []
while len(out) < 24:
    p = policy(len(out) % 2 == 0)
    code = in_child(p)
    if code and len(code) < 16000:
        out.append({"policy": p, "bpf": code})
print("[\n" + ",\n".join(json.dumps(o, separators=(",", ":")) for o in out) + "\n]")
