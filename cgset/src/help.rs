//! What `cgset --help` says beside the options.

/// The forms of the command line.
pub const USAGE: &str = "cgset [OPTIONS] KEY VALUE [KEY VALUE]... PID...\n       \
        cgset [OPTIONS] KEY VALUE [KEY VALUE]... -            (PIDs from standard input)\n       \
        cgset [OPTIONS] KEY VALUE [KEY VALUE]... -- COMMAND [ARG]...\n       \
        cgset [OPTIONS] KEY VALUE [KEY VALUE]... --group GROUP [PID]...\n       \
        cgset -r NAME=VALUE... GROUP                     (as libcgroup has it)\n       \
        cgset create [--delegate USER] GROUP\n       \
        cgset ls [--json] [GROUP]\n       \
        cgset show [--json] GROUP|PID\n       \
        cgset stat|watch [--json] [GROUP|PID]...\n       \
        cgset freeze|thaw|kill GROUP...\n       \
        cgset wait empty|frozen|oom GROUP\n       \
        cgset wait psi memory|cpu|io [some|full] STALL/WINDOW GROUP\n       \
        cgset rm [--kill] GROUP...\n       \
        cgset prune";

/// Keys, verbs, and what they print.
pub const AFTER: &str = "Keys:\n  \
    mem SIZE|N%|max         memory; what needs more is killed\n  \
    mem.high SIZE|N%|max    what needs more is slowed down (v2 only)\n  \
    mem.low, mem.min        memory that is taken last, or never, for others (v2 only)\n  \
    swap SIZE|max           swap beside it\n  \
    oom kill|group|off      what happens then: one is killed, all are (v2 only), they hang (v1 only)\n  \
    cpu N%|N|Nms/Nms|max    CPU time: 50% is half of one CPU, 1.5 one and a half\n  \
    cpu.burst Nms|Nus|0     what of the quota may be saved up for later\n  \
    cpu.weight 1..10000     share of the CPU when it is short; 100 is the usual; idle: what is left\n  \
    cpu.shares 2..262144    the same in the words of v1; 1024 is the usual\n  \
    cpus LIST, mems LIST    CPUs and memory nodes: 0-3,5, or max for all that the group above has\n  \
    pids N|max              processes and threads\n  \
    io.read DISK:RATE       what is read from a disk: 10M a second, 100iops, max, maxiops\n  \
    io.write DISK:RATE      what is written to it. DISK: sda, 8:0, /dev/sda, or a path on it\n  \
    io.weight N, DISK:N     share of the disks, or of one, 1 to 10000; 100 is the usual\n  \
    huge.2MB SIZE|max       huge pages of this size; huge.2MB.rsvd: those set aside\n  \
    net RATE|max            network traffic, each way: 8mbit or 1MB/s, which are the same\n  \
    net.in, net.out         one way of it (all three take a v2 tree, beside v1 if need be)\n  \
    net.deny, net.allow     NETWORK: 10.0.0.0/8, fe80::/10, an address, any; as often as needed,\n  \
    \u{20}                       the most specific decides, what none names is allowed\n  \
    dev.deny, dev.allow     DEVICE: all, /dev/null, c:1:3, b:8:*; with :r, :w, :m (mknod) for only\n  \
    \u{20}                       that; the last one that names it decides, what is open stays open\n  \
    memory.swap.high, cpuset.cpus.partition ...  what the kernel calls it, for all the rest\n\n\
    The word set may stand before the first KEY.\n\n\
    freeze stops all processes of a group, also those that they start; kill ends them, and the group\n\
    stays. Each returns when it is done. wait returns when nobody is in a group any more, when all\n\
    are stopped, or when the kernel has killed for memory; wait psi memory 150ms/1s when processes\n\
    of the group have been held up, for want of memory, for 150 ms within a second: with some one\n\
    of them, with full all that could run. prune removes, and prints, what is left of groups that\n\
    cgset has named after processes of this PID namespace that are gone.\n\n\
    A user to whom a group is delegated makes groups in it and limits them without root, once a\n\
    process of theirs is inside. With v2 that is in an inner one: cgset create GROUP/shell by the\n\
    user, then cgset --group GROUP/shell PID by root.\n\n\
    Sizes are as in coreutils: 10M and 10MiB are 10 x 1024 x 1024 bytes, 10MB is 10 x 1000 x 1000.\n\n\
    ls prints the path of each group, or of each in GROUP, in the first tree that has it; with\n\
    --json an array. show prints a name and a value on each line; limits that are not set are\n\
    max. With --json, one object: paths; processes (their PIDs); memory {limit, current, peak,\n\
    high, low, min: bytes; oom: kill, group or off; oom_kill: how often the kernel has killed};\n\
    swap {limit, current: bytes}; cpu {quota_us, period_us, burst_us, idle, weight or shares,\n\
    usage_us, throttled_us}; cpuset {cpus, mems: lists}; pids {limit, current}; hugetlb {\"2MB\":\n\
    {limit, reserved_limit, current: bytes}}; io {\"8:0\": {read_bytes, write_bytes,\n\
    read_operations, write_operations: the limits, a second}}; io_weight {default, \"8:0\"}; net\n\
    {in, out: {bytes: the limit, a second; dropped_packets}; deny, allow: networks}; devices\n\
    [{rule: allow or deny, device, access}], of which the last one that names a device decides.\n\
    What is not set, or not known here, is null. A group whose name is a number is shown by its\n\
    path.\n\n\
    stat looks at each group, or at all that hold processes: use and limit of memory, CPU time,\n\
    processes, how many percent of the last 10 s some process was held up (PSI, as the kernel calls\n\
    it, in the v2 tree), kills for memory. watch looks again each second, and at once after a kill\n\
    or a group's end; it ends when all that are named are gone. On a terminal a bar measures memory\n\
    against the smallest limit of the group and those above; where there is none is no bar. Else\n\
    there is no heading, and awk finds: path (or PID), memory, its limit, CPU time in microseconds\n\
    (watch: percent since the look before), quota in percent of one CPU, processes, their limit,\n\
    PSI of memory, cpu, io, OOM kills; max is no limit, - not known, and a blank in a name \\040.\n\
    With --json, one object a line: group; memory, pids {current, limit, effective_limit: the\n\
    smallest above; memory also oom_kill}; cpu {usage_us, throttled_us, quota_percent, percent:\n\
    since the look before}; pressure {memory, cpu, io: {some, full: {avg10, avg60, avg300: percent,\n\
    total_us}}}; with watch time, in seconds since 1970, and over where a group is gone.\n\n\
    Exit status: 0 done, 1 failed, 2 wrong usage. With COMMAND: its own, 128+N if signal N ended it;\n\
    125 if cgset fails, 126 if COMMAND can't be run, 127 if it is not found.";
