/* Runs commands one after the other, or many such sequences in parallel, and prints what each took.
 *
 *   launch [--jobs N] [--parallel P] [--limit SECONDS] [--pid-file PATH] {--step WORD... | --gone}...
 *
 * A job is the sequence of steps; "%" in a word is the job's number, from 0. `--step` is a command: it is started with vfork(2) and
 * execve(2), and its time ends when wait4(2) returns. `--gone` waits for the end of the container whose first process is in the pid
 * file: this program is the subreaper of everything that it starts, as conmon and containerd's shim are, so that process is its own
 * to wait for. One line for each step that was done, in the order of their ends:
 *
 *   JOB STEP WALL_NS CPU_US PEAK_RSS_KIB
 *
 * and a last one, `total WALL_NS`, from the first start to the last end. The steps of a `--gone` have the wall time since the step
 * before ended, and the processor time and peak of the container's first process, what it did before it executed its program included.
 *
 * Why not Python: its fork takes a millisecond, and a process begins with the peak of the memory it was forked from (exec_mmap in
 * fs/exec.c keeps the larger one), which would be the interpreter's. This program's is 0.7 MB.
 *
 * A step that fails ends everything: its standard error is printed and the exit code is 1. Steps that run are killed when the limit
 * is over (exit code 124) and when this program is told to end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 16, WORDS = 256, NUMBERED = 8, PARALLEL = 64, ORPHANS = 16384 };

struct step {
  char **words;
  int count; /* 0: --gone */
};

struct job {
  long number;
  int step;
  pid_t pid; /* 0: idle */
  long long began;
};

struct orphan {
  pid_t pid;
  long long ended;
  struct rusage used;
};

static struct step steps[STEPS];
static int step_count;
static struct job jobs[PARALLEL];
static struct orphan orphans[ORPHANS];
static int orphan_count;
static const char *pid_file;
static int silence, errors;
static int done; /* sequences that are through */

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void kill_all(void) {
  for (int i = 0; i < PARALLEL; i++)
    if (jobs[i].pid > 0) kill(jobs[i].pid, SIGKILL);
}

static void on_signal(int number) {
  kill_all();
  _exit(number == SIGALRM ? 124 : 128 + number);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  kill_all();
  exit(1);
}

/* `word` with its first "%" replaced by the number of the job */
static char *numbered(const char *word, long number, char *room, size_t size) {
  const char *mark = strchr(word, '%');
  if (!mark) return (char *)word;
  if (snprintf(room, size, "%.*s%ld%s", (int)(mark - word), word, number, mark + 1) >= (int)size) die("launch: %s: too long", word);
  return room;
}

static pid_t container_of(const struct job *job) {
  char room[4096], text[32] = "";
  const char *path = numbered(pid_file, job->number, room, sizeof room);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 || read(file, text, sizeof text - 1) <= 0) die("launch: %s: %s", path, strerror(errno));
  close(file);
  unlink(path);
  return (pid_t)strtol(text, NULL, 10);
}

static void told(const struct job *job, long long ended, const struct rusage *used) {
  long long cpu = (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000LL + used->ru_utime.tv_usec + used->ru_stime.tv_usec;
  printf("%ld %d %lld %lld %ld\n", job->number, job->step, ended > job->began ? ended - job->began : 0, cpu, used->ru_maxrss);
}

static void start(struct job *job) {
  const struct step *step = &steps[job->step];
  char rooms[NUMBERED][4096], *words[WORDS + 1];
  int used = 0;
  for (int i = 0; i < step->count; i++) {
    if (used == NUMBERED) die("launch: more than %d words with a number", NUMBERED - 1);
    words[i] = numbered(step->words[i], job->number, rooms[used], sizeof rooms[used]);
    used += words[i] == rooms[used];
  }
  words[step->count] = NULL;
  job->began = now();
  pid_t pid = vfork();
  if (pid < 0) die("launch: vfork: %s", strerror(errno));
  if (pid == 0) {
    dup2(silence, 0);
    dup2(silence, 1);
    dup2(errors, 2);
    execv(words[0], words);
    _exit(127);
  }
  job->pid = pid;
}

/* Goes on with a job whose last step ended at `ended`, over all that is at its end already; false: it is through. */
static int go_on(struct job *job, long long ended) {
  while (job->step < step_count) {
    if (steps[job->step].count) {
      start(job);
      return 1;
    }
    job->began = ended;
    job->pid = container_of(job);
    int i = 0;
    while (i < orphan_count && orphans[i].pid != job->pid) i++;
    if (i == orphan_count) return 1;
    told(job, orphans[i].ended, &orphans[i].used);
    ended = orphans[i].ended > ended ? orphans[i].ended : ended;
    orphans[i] = orphans[--orphan_count];
    job->step++;
  }
  job->pid = 0;
  done++;
  return 0;
}

static void failed(const struct job *job, int status) {
  char text[4096];
  ssize_t length = pread(errors, text, sizeof text - 1, 0);
  text[length > 0 ? length : 0] = 0;
  const char *how = WIFEXITED(status) ? "exit code" : "signal";
  die("launch: job %ld, step %d (%s …): %s %d: %s", job->number, job->step, steps[job->step].words[0], how,
      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), text);
}

static void reap(void) {
  struct rusage used;
  int status;
  pid_t pid = wait4(-1, &status, 0, &used);
  long long ended = now();
  if (pid < 0) die("launch: wait4: %s: a container's first process is not a descendant", strerror(errno));
  struct job *job = jobs;
  while (job < jobs + PARALLEL && job->pid != pid) job++;
  if (job == jobs + PARALLEL) {
    if (orphan_count == ORPHANS) die("launch: more than %d orphans", ORPHANS);
    orphans[orphan_count++] = (struct orphan){pid, ended, used};
    return;
  }
  job->pid = -1; /* it is no more: not to be killed */
  if (steps[job->step].count && status) failed(job, status);
  told(job, ended, &used);
  job->step++;
  go_on(job, ended);
}

static void read_steps(char **word) {
  for (; *word; word++) {
    if (step_count == STEPS) die("launch: more than %d steps", STEPS);
    struct step *step = &steps[step_count++];
    if (!strcmp(*word, "--gone")) continue;
    if (strcmp(*word, "--step")) die("launch: %s: neither --step nor --gone", *word);
    step->words = word + 1;
    while (word[1] && strcmp(word[1], "--step") && strcmp(word[1], "--gone")) step->count++, word++;
    if (!step->count || step->count > WORDS) die("launch: a step has 1 to %d words", WORDS);
  }
}

int main(int argc, char **argv) {
  long count = 1, parallel = 1, limit = 60;
  char **word = argv + 1;
  for (; argc > 2 && *word && word[1]; word += 2) {
    if (!strcmp(*word, "--jobs")) count = atol(word[1]);
    else if (!strcmp(*word, "--parallel")) parallel = atol(word[1]);
    else if (!strcmp(*word, "--limit")) limit = atol(word[1]);
    else if (!strcmp(*word, "--pid-file")) pid_file = word[1];
    else break;
  }
  read_steps(word);
  if (!step_count || parallel < 1 || parallel > PARALLEL) die("launch: no steps, or more than %d in parallel", PARALLEL);
  silence = open("/dev/null", O_RDWR | O_CLOEXEC);
  errors = memfd_create("errors", MFD_CLOEXEC);
  if (silence < 0 || errors < 0) die("launch: %s", strerror(errno));
  fcntl(errors, F_SETFL, O_APPEND);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  int signals[] = {SIGALRM, SIGTERM, SIGINT, SIGHUP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_signal);
  alarm(limit);

  long next = 0;
  long long began = now();
  while (done < count) {
    for (struct job *job = jobs; job < jobs + parallel; job++)
      while (!job->pid && next < count) {
        job->number = next++;
        job->step = 0;
        go_on(job, began);
      }
    if (done < count) reap();
  }
  printf("total %lld\n", now() - began);
  return 0;
}
