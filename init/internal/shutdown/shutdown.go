// Package shutdown ends what is left after the services: processes, mounts, unwritten data, the machine.
package shutdown

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/guard"
	"holdfast/init/internal/phase"
	"holdfast/kernel/cgroup"
	"holdfast/kernel/mount"
	"holdfast/kernel/power"
)

const (
	termLimit   = 3 * time.Second
	syncLimit   = 15 * time.Second
	freezeLimit = 5 * time.Second
)

// Now takes the machine down. Every wait is bounded; what had to be forced is
// said. It returns only when reboot(2) failed.
func Now(action power.Action, say func(text string)) error {
	endProcesses(say)
	if err := phase.Enter("shutdown"); err != nil {
		say("measure shutdown: " + err.Error())
	}
	unmountAll(say)
	if !power.Sync(syncLimit) {
		say(fmt.Sprintf("data was still being written after %s", syncLimit))
	}
	say(action.String())
	return power.Do(action)
}

// endProcesses ends every process but this one. Each was born in a cgroup of
// its own; the root group holds only the kernel's threads.
func endProcesses(say func(string)) {
	_ = unix.Kill(-1, unix.SIGTERM) // fails only when there is none
	groups, err := cgroup.Children("/")
	if err != nil {
		say("list cgroups: " + err.Error())
	}
	var all sync.WaitGroup
	for _, g := range slices.DeleteFunc(groups, func(g string) bool { return g == cgroup.Init }) {
		all.Go(func() {
			killed, err := cgroup.Empty(g, termLimit)
			if err != nil {
				say(err.Error())
			}
			if killed > 0 {
				say(fmt.Sprintf("%d processes of %s were killed after %s", killed, g, termLimit))
			}
		})
	}
	all.Wait()
}

// unmountAll unmounts file systems in reverse order until nothing more comes
// off. Then it has servers that don't answer given up, which lets processes
// end that even SIGKILL did not reach, and tries again. What is still in use is
// sealed.
func unmountAll(say func(string)) {
	const rounds = 5 // a mount below another mount's file may need a second round
	forced := false
	var left []mount.Info
	for range rounds {
		var progress bool
		if left, progress = unmountRound(mount.Unmount); len(left) == 0 {
			return
		}
		if progress {
			continue
		}
		if forced {
			break
		}
		forced = true
		unmountRound(mount.Force)
		endProcesses(say)
	}
	for _, m := range left {
		seal(m.Target, say)
	}
}

// unmountRound tries each file system once, and returns what is left of those
// that live on a disk.
func unmountRound(unmount func(string) error) (left []mount.Info, progress bool) {
	mounts, err := mount.List()
	if err != nil {
		return nil, false
	}
	slices.Reverse(mounts)
	for _, m := range mounts {
		if !holdsData(m) {
			continue
		}
		if err := unmount(m.Target); err == nil {
			progress = true
			continue
		}
		if m.Type == "ext4" {
			left = append(left, m)
		}
	}
	return left, progress
}

// seal makes a file system that can't be unmounted read-only. The kernel
// refuses that while a file is open for writing; then the file system is
// frozen, which leaves it as clean on the disk.
func seal(target string, say func(string)) {
	err := mount.Remount(target, mount.ReadOnly)
	if err == nil {
		say("still in use, made read-only: " + target)
		return
	}
	frozen := make(chan error, 1)
	guard.Go(func() { frozen <- mount.Freeze(target) })
	select {
	case err = <-frozen:
	case <-time.After(freezeLimit):
		err = fmt.Errorf("freeze %s: not done within %s", target, freezeLimit)
	}
	if err != nil {
		say(err.Error())
		return
	}
	say("still in use, frozen: " + target)
}

// holdsData tells the mounts that lie on, or keep busy, a writable disk.
func holdsData(m mount.Info) bool {
	switch m.Target {
	case "/", "/proc", "/sys", "/dev", "/run":
		return false
	}
	return m.Type == "ext4" || m.Type == "overlay" || m.Type == "vfat" || strings.HasPrefix(m.Target, "/var/") || strings.HasPrefix(m.Target, "/run/")
}
