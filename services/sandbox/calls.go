package sandbox

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Groups of system calls. Which are in use was seen with strace in the daemons'
// own tests, and read in the sources of Go's runtime
// (runtime/sys_linux_amd64.s, os_linux.go) for what only happens under load.
var (
	// goRuntime is what any Go program needs: memory, threads, signals, timers, the poller.
	goRuntime = []string{
		"arch_prctl", "brk", "clock_gettime", "clock_nanosleep", "close", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2",
		"eventfd2", "execve", "exit", "exit_group", "fcntl", "futex", "getegid", "geteuid", "getgid", "getpid", "getppid", "getrandom",
		"gettid", "getuid", "madvise", "mincore", "munmap", "nanosleep", "pipe2", "prlimit64", "read", "restart_syscall", "rt_sigaction",
		"rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "sigaltstack", "tgkill", "timer_create", "timer_delete",
		"timer_settime", "uname", "write", "writev",
	}
	readFiles  = []string{"faccessat", "faccessat2", "fstat", "getdents64", "lseek", "newfstatat", "openat", "pread64", "readlinkat", "statx"}
	writeFiles = []string{"fchmod", "fchmodat", "fsync", "ftruncate", "mkdirat", "pwrite64", "renameat", "renameat2", "unlinkat"}
	useSockets = []string{
		"bind", "connect", "getpeername", "getsockname", "getsockopt", "recvfrom", "recvmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
	}
	// dynamicC is what a program with shared libraries of the GNU C library needs beside that.
	dynamicC = []string{
		"access", "ioctl", "mmap", "mprotect", "poll", "pselect6", "readlink", "rseq", "set_robust_list", "set_tid_address",
	}
	// hostile is what only an intruder would try.
	hostile = []string{
		"add_key", "bpf", "chroot", "delete_module", "execveat", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module",
		"io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
		"mount", "mount_setattr", "move_mount", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root",
		"process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "reboot", "request_key", "setns", "swapoff",
		"swapon", "umount2", "unshare", "userfaultfd",
	}
)

// Flags of system calls' arguments.
const (
	protExec    = 0x4        // PROT_EXEC
	cloneThread = 0x10000    // CLONE_THREAD
	nameMemory  = 0x53564d41 // PR_SET_VMA
)

// Go allows what a static Go program needs to compute and to read files, and
// what more is.
func Go(more ...specs.LinuxSyscall) *specs.LinuxSeccomp {
	return filter(append([]specs.LinuxSyscall{
		allow(goRuntime),
		allow(readFiles),
		when("mmap", masked(2, protExec, 0)),
		when("mprotect", masked(2, protExec, 0)),
		when("clone", masked(0, cloneThread, cloneThread)),
		when("prctl", equal(0, nameMemory)),
	}, more...))
}

// C allows what a dynamically linked C program needs to compute and to read
// files, and what more is.
func C(more ...specs.LinuxSyscall) *specs.LinuxSeccomp {
	return filter(append([]specs.LinuxSyscall{allow(goRuntime), allow(readFiles), allow(dynamicC)}, more...))
}

// WriteFiles allows to write, make, rename and remove files.
func WriteFiles() specs.LinuxSyscall { return allow(writeFiles) }

// Calls allows system calls whatever their arguments.
func Calls(names ...string) specs.LinuxSyscall { return allow(names) }

// Request allows one request of ioctl(2).
func Request(number uint64) specs.LinuxSyscall { return when("ioctl", equal(1, number)) }

// Sockets allows sockets of some address families (AF_*).
func Sockets(families ...uint64) []specs.LinuxSyscall {
	out := []specs.LinuxSyscall{allow(useSockets)}
	for _, f := range families {
		out = append(out, when("socket", equal(0, f)))
	}
	return out
}

// Serve allows to accept connections, where Sockets allows the sockets.
func Serve() specs.LinuxSyscall { return allow([]string{"accept4", "listen"}) }

func filter(allowed []specs.LinuxSyscall) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, // EPERM
		Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls:      append(slices.Clone(allowed), specs.LinuxSyscall{Names: hostile, Action: specs.ActKillProcess}),
	}
}

func allow(names []string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: specs.ActAllow}
}

func when(name string, condition specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{condition}}
}

func masked(index uint, mask, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: mask, ValueTwo: value}
}

func equal(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpEqualTo, Value: value}
}
