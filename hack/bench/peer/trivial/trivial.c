/*
 * The service that is measured: it does nothing, and says when. It has no C library, so that the time from exec to its
 * first record is the kernel's alone.
 *
 *   trivial s RECORDS         records its start, then waits for a signal
 *   trivial e                 exits at once
 *   trivial f RECORDS GO      records its start, waits for a byte from the FIFO GO, records its exit, exits
 *
 * A record is 24 bytes, see hack/bench/driver/record.go. Both FIFOs are made here when they are missing, and opened for
 * reading and writing, which never blocks (fifo(7)).
 */

enum { SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_pause = 34, SYS_getpid = 39, SYS_exit = 60, SYS_mknod = 133, SYS_clock_gettime = 228 };
enum { CLOCK_MONOTONIC = 1, O_RDWR = 2, S_IFIFO = 0010000 };

static long call(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static unsigned long now(void)
{
	long t[2];
	call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)t, 0);
	return (unsigned long)t[0] * 1000000000UL + (unsigned long)t[1];
}

static long fifo(const char *path)
{
	call(SYS_mknod, (long)path, S_IFIFO | 0600, 0);
	return call(SYS_open, (long)path, O_RDWR, 0);
}

static void record(long fd, unsigned long kind, unsigned long at)
{
	unsigned long r[3] = { kind, (unsigned long)call(SYS_getpid, 0, 0, 0), at };
	call(SYS_write, fd, (long)r, sizeof r);
}

__attribute__((used)) static void run(long *stack)
{
	unsigned long started = now();
	char **args = (char **)(stack + 1);
	if (args[1][0] == 'e')
		call(SYS_exit, 0, 0, 0);
	long fd = fifo(args[2]);
	record(fd, 's', started);
	if (args[1][0] == 'f') {
		char byte;
		call(SYS_read, fifo(args[3]), (long)&byte, 1);
		record(fd, 'x', now());
		call(SYS_exit, 0, 0, 0);
	}
	for (;;)
		call(SYS_pause, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
