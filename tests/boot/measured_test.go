package boot

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"holdfast/rootfs/pcr"
	"holdfast/tests/probe"
	"holdfast/tests/release"
)

// phases is the path of those that a running node has been through.
const phases = "enter-initrd:leave-initrd:sysinit:ready"

// TestPredictedPCRs compares pcrs.json with the TPM of a booted machine and with
// the firmware's event log, which go-eventlog replays.
func TestPredictedPCRs(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	prediction, err := pcr.Parse(read(t, filepath.Join(rel.Dir, "pcrs.json")))
	if err != nil {
		t.Fatal(err)
	}
	if prediction.Version != rel.Version {
		t.Errorf("pcrs.json is for version %s, want %s", prediction.Version, rel.Version)
	}
	_, c, ctx := inside(t, rel)
	awaitReady(ctx, t, c)
	log, err := c.File(ctx, "/sys/kernel/security/tpm0/binary_bios_measurements")
	if err != nil {
		t.Fatal(err)
	}
	for bank, h := range pcr.Banks() {
		live := livePCRs(ctx, t, c, bank)
		for _, r := range prediction.PCRs {
			phase := ""
			if r.Index == pcr.Kernel {
				phase = phases
			}
			want, err := r.Value(bank, phase)
			if err != nil || !bytes.Equal(live[r.Index], want) {
				t.Errorf("%s PCR %d is %x, %v, predicted %x", bank, r.Index, live[r.Index], err, want)
			}
		}
		for _, untouched := range []int{12, 13, 15} {
			if !bytes.Equal(live[untouched], make([]byte, h.Size())) {
				t.Errorf("%s PCR %d is %x, want zeros", bank, untouched, live[untouched])
			}
		}
		compareLog(t, log, prediction, live, h, bank)
		replayPhases(ctx, t, c, prediction, bank, live[pcr.Kernel])
	}
}

// livePCRs reads the registers of a bank that the firmware's log is about, and
// the first that the operating system has.
func livePCRs(ctx context.Context, t *testing.T, c probe.Client, bank string) map[int][]byte {
	t.Helper()
	live := map[int][]byte{}
	for n := range 16 {
		text, err := c.Text(ctx, fmt.Sprintf("/sys/class/tpm/tpm0/pcr-%s/%d", bank, n))
		if err != nil {
			t.Fatal(err)
		}
		if live[n], err = hex.DecodeString(strings.ToLower(text)); err != nil {
			t.Fatal(err)
		}
	}
	return live
}

// compareLog replays the log, which ends before the first phase, and compares
// each event of a predicted register.
func compareLog(t *testing.T, log []byte, prediction *pcr.Prediction, live map[int][]byte, h crypto.Hash, bank string) {
	t.Helper()
	var registers []register.MR
	for n := range 12 {
		value := live[n]
		if r, err := prediction.Register(n); err == nil {
			if value, err = r.Value(bank, ""); err != nil {
				t.Fatal(err)
			}
		}
		registers = append(registers, register.PCR{Index: n, Digest: value, DigestAlg: h})
	}
	events, err := tcg.ParseAndReplay(log, registers, tcg.ParseOpts{})
	if err != nil {
		t.Fatalf("%s: %v", bank, err)
	}
	for _, r := range prediction.PCRs {
		var measured []tcg.Event
		for _, e := range events {
			if e.Index == r.Index {
				measured = append(measured, e)
			}
		}
		for i, want := range r.Events {
			if want.Phase != "" {
				continue
			}
			if i >= len(measured) || !bytes.Equal(measured[i].Digest, want.Banks[bank].Digest) {
				t.Errorf("%s PCR %d, event %d: the log does not have %s, %x", bank, r.Index, i, want.What, want.Banks[bank].Digest)
			}
		}
	}
}

// awaitReady waits until PID 1 has logged the last phase of its boot.
func awaitReady(ctx context.Context, t *testing.T, c probe.Client) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		log, err := c.Text(ctx, pcr.LogFile)
		if err == nil && strings.Contains(log, `"ready"`) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %q, %v", pcr.LogFile, log, err)
		}
	}
}

// replayPhases replays PID 1's own log, from what the UKI alone leads to.
func replayPhases(ctx context.Context, t *testing.T, c probe.Client, prediction *pcr.Prediction, bank string, live []byte) {
	t.Helper()
	log, err := c.File(ctx, pcr.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	records, err := pcr.ParseLog(log)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, r := range records {
		words = append(words, r.Content.String)
	}
	if got := strings.Join(words, ":"); got != phases {
		t.Errorf("the log has the phases %s, want %s", got, phases)
	}
	kernel, err := prediction.Register(pcr.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	value, err := kernel.Value(bank, "")
	if err != nil {
		t.Fatal(err)
	}
	if value, err = pcr.Replay(records, pcr.Kernel, bank, value); err != nil || !bytes.Equal(value, live) {
		t.Errorf("%s: the log leads to %x, %v, PCR 11 is %x", bank, value, err, live)
	}
}
