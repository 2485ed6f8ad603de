/* Runs a command and prints the largest resident set that its process had, in KiB, without those of its children:
 *
 *   peak COMMAND...
 *
 * What wait4(2) tells of a process is the largest of it and of the children that it waited for, which for a `run` in the foreground is the
 * container's program too. So the process is stopped at its end (PTRACE_O_TRACEEXIT), while its memory is there, and proc_pid_status(5) asked.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static long peak_of(pid_t pid) {
  char line[256];
  long peak = -1;
  snprintf(line, sizeof line, "/proc/%d/status", pid);
  FILE *status = fopen(line, "re");
  if (!status) return -1;
  while (fgets(line, sizeof line, status))
    if (sscanf(line, "VmHWM: %ld kB", &peak) == 1) break;
  fclose(status);
  return peak;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  pid_t pid = fork();
  if (pid < 0) return 2;
  if (pid == 0) {
    int silence = open("/dev/null", O_RDWR);
    dup2(silence, 0);
    dup2(silence, 1);
    raise(SIGSTOP);
    execv(argv[1], argv + 1);
    _exit(127);
  }
  int status;
  long peak = -1;
  if (waitpid(pid, &status, WUNTRACED) < 0 || ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) < 0) {
    perror("peak");
    kill(pid, SIGKILL);
    return 2;
  }
  kill(pid, SIGCONT);
  while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
    int event = status >> 16, signal = WSTOPSIG(status);
    if (event == PTRACE_EVENT_EXIT) peak = peak_of(pid);
    /* a stop is no signal to be passed on */
    ptrace(PTRACE_CONT, pid, 0, event ? 0 : signal);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status)) {
    fprintf(stderr, "peak: %s: status %#x\n", argv[1], status);
    return 1;
  }
  printf("%ld\n", peak);
  return 0;
}
