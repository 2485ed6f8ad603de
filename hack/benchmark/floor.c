/* What a container costs at the least: its namespaces, its mounts, pivot_root(2), its program. No cgroup, no limits, no seccomp
 * filter, no capabilities dropped, nothing read from a file, nothing kept.
 *
 *   floor [--cgroup] [--readonly] [--work DIR] [--lower DIR]... ROOTFS PROGRAM
 *
 * Namespaces and mounts are those of the configuration that `runc spec` writes. --cgroup: a cgroup namespace and a mount of cgroup2 as
 * well. --lower: below ROOTFS lies an overlay's lower directory, the topmost first; ROOTFS is the upper directory with --work, the
 * topmost lower one with --readonly. Exit code: the program's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOWERS = 128 };

static void check(const char *what, long result) {
  if (result >= 0) return;
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  _exit(125);
}

static void mount_at(const char *path, const char *kind, unsigned long flags, const char *data) {
  if (mkdir(path, 0755) < 0 && errno != EEXIST && errno != EROFS) check(path, -1);
  check(path, mount(kind, path, kind, flags, data));
}

/* Mounts the overlay and makes it the working directory. */
static void overlay(const char *rootfs, const char *work, char **lowers, int count) {
  int file = fsopen("overlay", FSOPEN_CLOEXEC);
  check("fsopen", file);
  if (!work) check(rootfs, fsconfig(file, FSCONFIG_SET_STRING, "lowerdir+", rootfs, 0));
  for (int i = 0; i < count; i++) check(lowers[i], fsconfig(file, FSCONFIG_SET_STRING, "lowerdir+", lowers[i], 0));
  if (work) {
    check(rootfs, fsconfig(file, FSCONFIG_SET_STRING, "upperdir", rootfs, 0));
    check(work, fsconfig(file, FSCONFIG_SET_STRING, "workdir", work, 0));
  }
  check("overlay", fsconfig(file, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  int root = fsmount(file, FSMOUNT_CLOEXEC, 0);
  check("fsmount", root);
  check("move_mount", move_mount(root, "", -1, "/mnt", MOVE_MOUNT_F_EMPTY_PATH));
  check("chdir", chdir("/mnt"));
}

static void devices(void) {
  static const struct { const char *name; int minor; } made[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
    char path[32];
    snprintf(path, sizeof path, "dev/%s", made[i].name);
    check(path, mknod(path, S_IFCHR | 0666, makedev(1, made[i].minor)));
  }
  check("dev/tty", mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)));
  check("dev/fd", symlink("/proc/self/fd", "dev/fd"));
  check("dev/stdin", symlink("/proc/self/fd/0", "dev/stdin"));
  check("dev/stdout", symlink("/proc/self/fd/1", "dev/stdout"));
  check("dev/stderr", symlink("/proc/self/fd/2", "dev/stderr"));
  check("dev/ptmx", symlink("pts/ptmx", "dev/ptmx"));
}

int main(int argc, char **argv) {
  int cgroup = 0, readonly = 0, lower_count = 0, at = 1;
  char *work = NULL, *lowers[LOWERS];
  for (; at < argc && !strncmp(argv[at], "--", 2); at++) {
    if (!strcmp(argv[at], "--cgroup")) cgroup = 1;
    else if (!strcmp(argv[at], "--readonly")) readonly = 1;
    else if (!strcmp(argv[at], "--work") && at + 1 < argc) work = argv[++at];
    else if (!strcmp(argv[at], "--lower") && at + 1 < argc && lower_count < LOWERS) lowers[lower_count++] = argv[++at];
    else return 125;
  }
  if (argc - at != 2) return 125;
  const char *rootfs = argv[at];
  char *program[] = {argv[at + 1], NULL};

  long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | (cgroup ? CLONE_NEWCGROUP : 0);
  long child = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
  check("clone", child);
  if (child) {
    int status;
    check("waitpid", waitpid((pid_t)child, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  check("/", mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
  if (lower_count) {
    overlay(rootfs, work, lowers, lower_count);
  } else {
    check(rootfs, mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL));
    check(rootfs, chdir(rootfs));
  }
  mount_at("proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
  mount_at("dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  mount_at("dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  mount_at("dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
  mount_at("dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
  mount_at("sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
  if (cgroup) mount_at("sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
  devices();
  check("sethostname", sethostname("floor", 5));
  check("pivot_root", syscall(SYS_pivot_root, ".", "."));
  check("umount2", umount2(".", MNT_DETACH));
  if (readonly) check("read-only", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
  check("chdir", chdir("/"));
  execv(program[0], program);
  check(program[0], -1);
}
