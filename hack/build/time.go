package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"holdfast/rootfs/image"
)

// setTime finds the time that the release carries as that of its build, below
// which no node's clock starts: the day of the newest commit, so that two
// builds of a commit are the same bytes, and a commit alone does not make the
// root anew. SOURCE_DATE_EPOCH goes before it; a source tree without history
// gets Epoch.
func (b *builder) setTime(ctx context.Context) error {
	if text, given := os.LookupEnv("SOURCE_DATE_EPOCH"); given {
		// mkfs.erofs would stamp every file with it.
		if err := os.Unsetenv("SOURCE_DATE_EPOCH"); err != nil {
			return err
		}
		return b.setUnix(text, time.Second)
	}
	out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || errors.Is(err, exec.ErrNotFound) {
		return b.setUnix(strconv.Itoa(image.Epoch), time.Second)
	} else if err != nil {
		return err
	}
	return b.setUnix(string(out), 24*time.Hour)
}

func (b *builder) setUnix(text string, unit time.Duration) error {
	sec, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || sec < image.Epoch {
		return fmt.Errorf("build time is %q, want seconds since 1970, from %d on", text, image.Epoch)
	}
	b.built = time.Unix(sec, 0).UTC().Truncate(unit)
	return nil
}
