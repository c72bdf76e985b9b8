/* The least that the chain of tools can be: four programs that execute one another, as the tools do,
 * and ask the same of the kernel. All else is left out: they know no options, look at nothing before,
 * pass no signals on, explain nothing and take nothing back. So what the chain takes longer than this
 * is the tools' own; what this takes longer than the one program of bench-floor.c is what four
 * programs cost, with limits, masks, capabilities and a filter.
 *
 *     cc -O2 -static -o limit bench-chain.c; ln limit spaces; ln limit mounts; ln limit root
 *     ./limit GROUP... FILE=VALUE... -- ./spaces ./mounts ROOTFS ./root FILTER ROOTFS COMMAND
 *
 * GROUP is a folder in a tree of control groups, to be made; FILTER is what chrootx --print-seccomp
 * writes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static long must(long done, const char *what)
{
    if (done < 0) {
        perror(what);
        exit(125);
    }
    return done;
}

static int become(char **command)
{
    execv(command[0], command);
    perror(command[0]);
    return 127;
}

static int end_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int put(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    int done = write(fd, text, strlen(text));
    close(fd);
    return done;
}

static char *in(const char *dir, const char *name)
{
    char *path;
    must(asprintf(&path, "%s/%s", dir, name), "asprintf");
    return path;
}

/* cgset: groups, limits, a child in them; the groups go with it. */
static int limit(char **argv)
{
    char *dirs[8];
    int count = 0, v2 = -1;
    for (; strcmp(*argv, "--"); argv++) {
        char *value = strchr(*argv, '=');
        if (value) {
            *value++ = 0;
            must(put(*argv, value), *argv);
            continue;
        }
        must(mkdir(*argv, 0755), *argv);
        if (access(in(*argv, "tasks"), F_OK))
            v2 = open(*argv, O_RDONLY | O_CLOEXEC);
        dirs[count++] = *argv;
    }
    struct clone_args args = { .exit_signal = SIGCHLD };
    if (v2 >= 0) {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = v2;
    }
    pid_t child = must(syscall(SYS_clone3, &args, sizeof args), "clone3");
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < count; i++)
            if (!access(in(dirs[i], "tasks"), F_OK))
                must(put(in(dirs[i], "tasks"), "0"), "tasks");
        return become(argv + 1);
    }
    int status = end_of(child);
    while (count--)
        must(rmdir(dirs[count]), dirs[count]);
    return status;
}

/* nsenter-lite --init: namespaces, a PID 1 that reaps, a child of it that goes on. */
static int spaces(char **argv)
{
    must(unshare(CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP), "unshare");
    pid_t init = must(fork(), "fork");
    if (init)
        return end_of(init);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    must(unshare(CLONE_NEWNS), "unshare");
    must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private");
    pid_t child = must(fork(), "fork");
    if (child) {
        must(chdir("/"), "chdir");
        return end_of(child);
    }
    must(setpgid(0, 0), "setpgid");
    must(sethostname("box", 3), "sethostname");
    return become(argv);
}

static void cover(const char *what, const char *place, unsigned long flags)
{
    must(mount(what, place, 0, MS_BIND | (flags & MS_REC), 0), place);
    must(mount(0, place, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | (flags & ~MS_REC), 0), place);
}

/* bindmount --std: a small /dev, /proc with masks, /sys, resolv.conf. */
static int mounts(char **argv)
{
    static const struct { const char *name; int major, minor; } nodes[] = {
        { "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 },
        { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
    };
    static const char *links[][2] = {
        { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" },
        { "/proc/self/fd/2", "stderr" }, { "pts/ptmx", "ptmx" },
    };
    static const char *hidden[] = {
        "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi",
        "timer_list", "timer_stats",
    };
    static const char *unwritable[] = { "bus", "fs", "irq", "sys", "sysrq-trigger" };
    const unsigned long strict = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    char *root = argv[0], *dev = in(root, "dev"), *proc = in(root, "proc"), *sys = in(root, "sys");

    must(mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=1m"), "dev");
    umask(0);
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        must(mknod(in(dev, nodes[i].name), S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)),
             nodes[i].name);
    umask(022);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        must(symlink(links[i][0], in(dev, links[i][1])), links[i][1]);
    must(mkdir(in(dev, "pts"), 0755), "pts");
    must(mount("devpts", in(dev, "pts"), "devpts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=0620,gid=5"), "pts");
    must(mkdir(in(dev, "shm"), 0755), "shm");
    must(mount("tmpfs", in(dev, "shm"), "tmpfs", strict, "mode=1777,size=64m"), "shm");
    must(put(in(dev, "shm/resolv.conf"), "nameserver 127.0.0.1\n"), "resolv.conf");
    must(mount(in(dev, "shm/resolv.conf"), in(root, "etc/resolv.conf"), 0, MS_BIND, 0), "resolv.conf");

    must(mount("proc", proc, "proc", strict, 0), "proc");
    must(mount("tmpfs", in(proc, "acpi"), "tmpfs", strict | MS_RDONLY, "mode=0555"), "acpi");
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (!access(in(proc, hidden[i]), F_OK))
            cover("/dev/null", in(proc, hidden[i]), MS_NOSUID | MS_NOEXEC);
    for (size_t i = 0; i < sizeof unwritable / sizeof *unwritable; i++)
        if (!access(in(proc, unwritable[i]), F_OK))
            cover(in(proc, unwritable[i]), in(proc, unwritable[i]), strict);
    cover("/sys", sys, strict);
    must(mount("tmpfs", in(sys, "firmware"), "tmpfs", strict | MS_RDONLY, "mode=0555"), "firmware");
    cover("/sys/fs/cgroup", in(sys, "fs/cgroup"), strict | MS_REC);
    return become(argv + 1);
}

/* chrootx --cap-default --seccomp: another root, fewer capabilities, a filter. */
static int root(char **argv)
{
    static struct sock_filter filter[4096];
    int fd = must(open(argv[0], O_RDONLY | O_CLOEXEC), argv[0]);
    long size = must(read(fd, filter, sizeof filter), argv[0]);
    struct sock_fprog program = { size / sizeof *filter, filter };

    must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
    must(mount(argv[1], argv[1], 0, MS_BIND | MS_REC, 0), argv[1]);
    must(chdir(argv[1]), argv[1]);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    const uint64_t keep = 0x800405FB; /* what --cap-default leaves */
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (!(keep >> cap & 1))
            must(prctl(PR_CAPBSET_DROP, cap), "capabilities");
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { keep >> 32, keep >> 32, 0 } };
    must(syscall(SYS_capset, &header, data), "capset");
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
    return become(argv + 2);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    if (argc < 2)
        return 125;
    if (!strcmp(name, "limit"))
        return limit(argv + 1);
    if (!strcmp(name, "spaces"))
        return spaces(argv + 1);
    return !strcmp(name, "mounts") ? mounts(argv + 1) : root(argv + 1);
}
