package pcr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// LogFile is where PID 1 keeps what it extends, which the firmware's log can't
// have: the form is that of systemd's tpm2-measure.log, after the TCG's Canonical
// Event Log in JSON. Each record stands between a record separator (RFC 7464)
// and a line feed.
const LogFile = "/run/holdfast/tpm2-measure.log"

// Record is one extension that user space made.
type Record struct {
	PCR         int            `json:"pcr"`
	Digests     []RecordDigest `json:"digests"`
	ContentType string         `json:"content_type"` // "systemd"
	Content     RecordContent  `json:"content"`
}

// RecordDigest is what was extended in one bank.
type RecordDigest struct {
	Bank   string `json:"hashAlg"`
	Digest Hex    `json:"digest"`
}

// RecordContent says what was measured.
type RecordContent struct {
	String      string `json:"string"`
	BootID      string `json:"bootId,omitempty"`
	TimestampUs int64  `json:"timestamp"` // CLOCK_BOOTTIME
	EventType   string `json:"eventType"` // "phase"
}

const (
	recordSeparator = 0x1e
	maxRecords      = 4096
)

// PhaseRecord describes the extension of a phase, with the digests of the banks
// that are predicted: go-tpm does not pass on what the TPM says of them.
func PhaseRecord(phase, bootID string, timestampUs int64) Record {
	var digests []RecordDigest
	for _, bank := range slices.Sorted(maps.Keys(Banks())) {
		digests = append(digests, RecordDigest{bank, sum(Banks()[bank], []byte(phase))})
	}
	return Record{Kernel, digests, "systemd", RecordContent{phase, bootID, timestampUs, "phase"}}
}

// Encode renders the record as it is appended to the log.
func (r Record) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	return append(append([]byte{recordSeparator}, data...), '\n'), err
}

// ParseLog reads a log.
func ParseLog(data []byte) ([]Record, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if data[0] != recordSeparator || data[len(data)-1] != '\n' {
		return nil, fmt.Errorf("parse measurement log: it does not consist of whole records")
	}
	parts := bytes.Split(data[1:], []byte{recordSeparator})
	if len(parts) > maxRecords {
		return nil, fmt.Errorf("parse measurement log: %d records, expected at most %d", len(parts), maxRecords)
	}
	records := make([]Record, len(parts))
	for i, p := range parts {
		if err := json.Unmarshal(p, &records[i]); err != nil {
			return nil, fmt.Errorf("parse measurement log: record %d: %w", i, err)
		}
	}
	return records, nil
}

// Replay extends a register's value by the records about it. Each digest must be
// that of what the record says was measured.
func Replay(records []Record, index int, bank string, value []byte) ([]byte, error) {
	h, ok := Banks()[bank]
	if !ok {
		return nil, fmt.Errorf("replay measurement log: bank %q is not known", bank)
	}
	for i, r := range records {
		if r.PCR != index {
			continue
		}
		digest, err := r.digest(bank)
		if err != nil {
			return nil, fmt.Errorf("replay measurement log: record %d: %w", i, err)
		}
		if want := sum(h, []byte(r.Content.String)); !bytes.Equal(digest, want) {
			return nil, fmt.Errorf("replay measurement log: record %d: digest %x is not that of %q", i, digest, r.Content.String)
		}
		value = Extend(h, value, digest)
	}
	return value, nil
}

func (r Record) digest(bank string) ([]byte, error) {
	for _, d := range r.Digests {
		if d.Bank == bank {
			return d.Digest, nil
		}
	}
	return nil, fmt.Errorf("no digest of bank %s", bank)
}
