package proc

import (
	"os"
	"syscall"
	"testing"

	"holdfast/init/internal/plan"
)

// BenchmarkStart measures from Start to the exit of a program that does
// nothing; cpu-us/op is the processor time of the child and the program, which
// says more on a machine that is busy.
func BenchmarkStart(b *testing.B) {
	r := reaper(b)
	measure(b, func() {
		p, err := r.Start(Command{Plan: plan.Plan{Args: []string{"/bin/true"}}})
		if err != nil {
			b.Fatal(err)
		}
		if s := wait(b, p); !s.OK() {
			b.Fatal(s)
		}
	})
}

// BenchmarkBare is the part that is not ours: the same program without a child
// that prepares anything.
func BenchmarkBare(b *testing.B) {
	measure(b, func() { spawn(b, "/bin/true", nil) })
}

// BenchmarkRuntime is a child that ends as soon as Go's runtime has started.
func BenchmarkRuntime(b *testing.B) {
	measure(b, func() { spawn(b, "/proc/self/exe", childEnvironment) })
}

// idleName is argv[0] of a child that does nothing.
const idleName = "holdfast-idle"

func spawn(b *testing.B, program string, env []string) {
	pid, err := syscall.ForkExec(program, []string{idleName}, &syscall.ProcAttr{Env: env})
	if err != nil {
		b.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
		b.Fatal(status, err)
	}
}

func measure(b *testing.B, once func()) {
	before := used(b)
	for b.Loop() {
		once()
	}
	b.ReportMetric(float64(used(b)-before)/float64(b.N)/1000, "cpu-us/op")
}

// used is the processor time of all children that have ended, in ns.
func used(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		b.Fatal(os.NewSyscallError("getrusage", err))
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
