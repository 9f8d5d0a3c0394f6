// Package phase measures the phases of the boot into the TPM and keeps their log.
package phase

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"holdfast/init/internal/report"
	"holdfast/kernel/tpm"
	"holdfast/rootfs/pcr"
)

// Enter measures a phase, one of pcr.Phases, and appends it to pcr.LogFile.
func Enter(name string) error {
	if err := tpm.ExtendPhase(pcr.Kernel, name); err != nil {
		return err
	}
	if err := log(name); err != nil {
		return fmt.Errorf("log phase %s: %w", name, err)
	}
	return nil
}

func log(name string) error {
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	id := strings.ReplaceAll(strings.TrimSpace(string(bootID)), "-", "")
	record, err := pcr.PhaseRecord(name, id, report.Now().Microseconds()).Encode()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(pcr.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(record)
	return errors.Join(err, f.Close())
}
