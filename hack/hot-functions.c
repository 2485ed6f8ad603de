/* hot-functions OUT STARTS PROGRAM COMMAND...: runs a command. Wherever it, or what it starts, executes PROGRAM, a static one, there is a
 * breakpoint at every function, and the addresses of those that are called are written to OUT, each once, in the order of their first call.
 * STARTS has the address of a function on each line (hexadecimal). A breakpoint goes away when it is first hit, so that all this costs one
 * trap for each function and process. What still runs when the command has ended is killed. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long low = -1UL, high; /* of the functions; high is behind the last one's first byte */
static unsigned char *is_start, *is_told, *original, *planted;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int memory_of(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void load(const char *starts, const char *program)
{
	unsigned long address;
	FILE *list = fopen(starts, "r");
	if (list == NULL)
		die(starts);
	while (fscanf(list, "%lx", &address) == 1) {
		low = address < low ? address : low;
		high = address >= high ? address + 1 : high;
	}
	size_t size = high - low;
	is_start = calloc(1, size), is_told = calloc(1, size), original = malloc(size), planted = malloc(size);
	if (high <= low || !is_start || !is_told || !original || !planted)
		die("functions");
	rewind(list);
	while (fscanf(list, "%lx", &address) == 1)
		is_start[address - low] = 1;
	fclose(list);
	/* what stands there in the file: the program is not position-independent */
	Elf64_Ehdr head;
	int file = open(program, O_RDONLY | O_CLOEXEC);
	if (file < 0 || pread(file, &head, sizeof head, 0) != sizeof head || head.e_type != ET_EXEC)
		die(program);
	int found = 0;
	for (int i = 0; i < head.e_phnum; i++) {
		Elf64_Phdr part;
		if (pread(file, &part, sizeof part, head.e_phoff + i * sizeof part) != sizeof part)
			die(program);
		if (part.p_type == PT_LOAD && part.p_vaddr <= low && high <= part.p_vaddr + part.p_filesz)
			found = pread(file, original, size, part.p_offset + (low - part.p_vaddr)) == (ssize_t)size;
	}
	if (!found)
		die("the functions are in no part of the program");
	close(file);
	for (size_t i = 0; i < size; i++)
		planted[i] = is_start[i] ? 0xcc : original[i];
}

/* Plants all breakpoints, if what the process now executes is the program. */
static void plant(pid_t pid)
{
	size_t size = high - low;
	unsigned char *there = malloc(size);
	int memory = memory_of(pid);
	if (memory >= 0 && pread(memory, there, size, low) == (ssize_t)size && memcmp(there, original, size) == 0
	    && pwrite(memory, planted, size, low) != (ssize_t)size)
		die("plant breakpoints");
	close(memory);
	free(there);
}

int main(int count, char **words)
{
	if (count < 5)
		return 2;
	load(words[2], words[3]);
	FILE *out = fopen(words[1], "w");
	if (out == NULL)
		die(words[1]);
	setvbuf(out, NULL, _IOLBF, 0); /* it may be killed */
	pid_t first = fork();
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(words[4], words + 4);
		_exit(127);
	}
	int status;
	waitpid(first, &status, 0);
	ptrace(PTRACE_SETOPTIONS, first, 0,
	       PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
	ptrace(PTRACE_CONT, first, 0, 0);
	for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == first) {
				fclose(out);
				return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			}
			continue;
		}
		int stop = WSTOPSIG(status), event = status >> 16, pass = 0;
		if (event == PTRACE_EVENT_EXEC) {
			plant(pid);
		} else if (event == 0 && stop == SIGTRAP) {
			size_t rip = offsetof(struct user_regs_struct, rip);
			unsigned long at = ptrace(PTRACE_PEEKUSER, pid, rip, 0) - 1;
			if (at >= low && at < high && is_start[at - low]) {
				int memory = memory_of(pid);
				if (memory < 0 || pwrite(memory, original + (at - low), 1, at) != 1)
					die("take a breakpoint away");
				close(memory);
				ptrace(PTRACE_POKEUSER, pid, rip, at);
				if (!is_told[at - low]++)
					fprintf(out, "%lx\n", at);
			} else {
				pass = SIGTRAP;
			}
		} else if (event == 0 && stop != SIGSTOP) {
			pass = stop;
		}
		ptrace(PTRACE_CONT, pid, 0, pass);
	}
	return 1;
}
