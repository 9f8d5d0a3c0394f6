// Package floor is the time before which a node's clock never starts: when its release was built, or when the time was last known.
//
// The build time is a line of RFC 3339 on the verified root; times of files
// there are all the same, so that unchanged files stay the same blocks. The
// last known time is the modification time of a file on the state volume,
// which timed renews at each synchronisation.
package floor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

const (
	BuildFile = "/usr/lib/holdfast/build-time"
	Dir       = "/var/lib/holdfast/time" // belongs to timed
	LastFile  = Dir + "/last"
)

// User is the user and group that timed runs as, and Devices where PID 1 gives
// it the hypervisor's clock: a device with the clock's name, or nothing.
const (
	User    = 100
	Devices = "/dev/timed"
)

// service is how long after its build a release may be in use. A time beyond
// that is not believed: it would keep the clock in the future.
const service = 10 * 366 * 24 * time.Hour

// Believable reports whether a clock may show now on a release built then.
func Believable(now, built time.Time) bool {
	return !now.Before(built) && !now.After(built.Add(service))
}

// FormatBuild is a build time as it stands in its file.
func FormatBuild(t time.Time) []byte { return []byte(t.UTC().Format(time.RFC3339) + "\n") }

// Built reads the build time from its file.
func Built(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("read build time: %w", err)
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read build time: %s is %.40q, want a time such as 2026-01-02T15:04:05Z", path, b)
	}
	return t.UTC(), nil
}

// Last returns the last known time, the zero one when none is kept. It cannot
// be before built, nor much after it.
func Last(path string, built time.Time) (time.Time, error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("read last known time: %w", err)
	case !st.Mode().IsRegular():
		return time.Time{}, fmt.Errorf("read last known time: %s is no regular file", path)
	}
	t := st.ModTime().UTC()
	if !t.Before(built) && !Believable(t, built) {
		return time.Time{}, fmt.Errorf("last known time is %s, which this release of %s does not believe", t.Format(time.RFC3339), built.Format(time.DateOnly))
	}
	return t, nil
}

// Keep makes now the last known time.
func Keep(path string, now time.Time) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		err = errors.Join(f.Close(), os.Chtimes(path, time.Time{}, now))
	}
	if err != nil {
		return fmt.Errorf("keep last known time: %w", err)
	}
	return nil
}
