package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/floor"
	"holdfast/kernel/clock"
	"holdfast/kernel/ptp"
)

// raiseClock keeps the clock from being before the release was built, or
// decades after it, as it is where the machine's own clock is not set: no
// certificate would be valid.
func raiseClock(*Node) (string, error) {
	built, err := floor.Built(newRoot + floor.BuildFile)
	if err != nil {
		return "", err
	}
	now := time.Now()
	if floor.Believable(now, built) {
		return stamp(now), nil
	}
	if err := clock.Set(built); err != nil {
		return "", err
	}
	return "", setClock(now, built, "this release was built")
}

// recallTime goes on from the last known time on the state volume.
func recallTime(*Node) (string, error) {
	built, err := floor.Built(floor.BuildFile)
	if err != nil {
		return "", err
	}
	last, err := floor.Last(floor.LastFile, built)
	if err != nil {
		return "", err
	}
	was := time.Now()
	behind, err := clock.Raise(last)
	if err == nil && behind > tolerable {
		err = setClock(was, last, "the time was last known")
	}
	return stamp(was.Add(behind)), err
}

// tolerable is how far a machine's clock may be behind without being wrong: it
// is written only now and then, and keeps time by a cheap crystal.
const tolerable = 10 * time.Minute

// setClock is the fault of a clock that had to be set.
func setClock(was, now time.Time, when string) error {
	return fmt.Errorf("the clock said %s; it was set to %s, when %s", stamp(was), stamp(now), when)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// lendTime gives timed, which is neither root nor sees the host's devices, its
// directory and a device of its own for the hypervisor's clock. Opened for
// reading, that can be read and not set.
func lendTime(*Node) (string, error) {
	err := errors.Join(os.MkdirAll(floor.Dir, 0o755), os.Chown(floor.Dir, floor.User, floor.User), os.MkdirAll(floor.Devices, 0o755))
	if err != nil {
		return "", err
	}
	node, name, err := ptp.Find(ptp.Class, ptp.KVM, ptp.HyperV)
	if err != nil || node == "" {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return "", fmt.Errorf("lend %s: %w", node, err)
	}
	to := filepath.Join(floor.Devices, name)
	if err := unix.Mknod(to, unix.S_IFCHR, int(st.Rdev)); err != nil {
		return "", fmt.Errorf("lend %s: %w", node, err)
	}
	return name, errors.Join(os.Chown(to, 0, floor.User), os.Chmod(to, 0o440))
}
