/* The least that a container is: the namespaces, the root, a proc, exec. What scripts/bench-isolation
 * compares the chain of tools with; it checks nothing that a tool has to check, limits nothing, and
 * leaves COMMAND all of root's power.
 *
 *     cc -O2 -static -o floor bench-floor.c && floor ROOTFS COMMAND
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int done, const char *what)
{
    if (done < 0) {
        perror(what);
        exit(125);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 125;
    long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
    pid_t child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    must(child, "clone");
    if (child) {
        int status;
        must(waitpid(child, &status, 0), "waitpid");
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private");
    must(mount(argv[1], argv[1], 0, MS_BIND | MS_REC, 0), "bind");
    must(chdir(argv[1]), "chdir");
    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), "proc");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(sethostname("floor", 5), "sethostname");
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
