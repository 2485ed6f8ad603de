/* hot-functions OUT LOW HIGH COMMAND...: runs a program instruction by instruction, its children too, and appends the addresses between LOW
 * and HIGH (hexadecimal) that were executed to OUT, each once, in the order of their first execution. */
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words)
{
	if (count < 5)
		return 2;
	FILE *out = fopen(words[1], "a");
	unsigned long low = strtoul(words[2], NULL, 16), high = strtoul(words[3], NULL, 16);
	unsigned char *seen = calloc(1, high - low);
	if (out == NULL || seen == NULL)
		return 1;
	setvbuf(out, NULL, _IOLBF, 0); /* it may be killed */
	pid_t first = fork();
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(words[4], words + 4);
		_exit(127);
	}
	int status, code = 1;
	waitpid(first, &status, 0);
	ptrace(PTRACE_SETOPTIONS, first, 0,
	       PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
	ptrace(PTRACE_SINGLESTEP, first, 0, 0);
	for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == first)
				code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		int stop = WSTOPSIG(status), event = status >> 16;
		if (stop == SIGTRAP && event == 0) {
			unsigned long at = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
			if (at >= low && at < high && !seen[at - low]) {
				seen[at - low] = 1;
				fprintf(out, "%lx\n", at);
			}
		}
		ptrace(PTRACE_SINGLESTEP, pid, 0, stop == SIGTRAP || stop == SIGSTOP ? 0 : stop);
	}
	return code;
}
