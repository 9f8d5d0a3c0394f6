package pcr

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func phaseRecord(phase string) Record { return PhaseRecord(phase, "id", 5) }

func encodeLog(t testing.TB, records ...Record) []byte {
	t.Helper()
	var log []byte
	for _, r := range records {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, b...)
	}
	return log
}

func TestLog(t *testing.T) {
	other := phaseRecord("elsewhere")
	other.PCR = 15
	written := []Record{phaseRecord("enter-initrd"), other, phaseRecord("leave-initrd")}
	records, err := ParseLog(encodeLog(t, written...))
	if err != nil || !reflect.DeepEqual(records, written) {
		t.Errorf("came back as %+v, %v", records, err)
	}
	for bank, h := range Banks() {
		got, err := Replay(records, Kernel, bank, make([]byte, h.Size()))
		if want := replay(h, "enter-initrd", "leave-initrd"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %x", bank, got, err, want)
		}
	}
	if records, err := ParseLog(nil); err != nil || len(records) != 0 {
		t.Errorf("empty: %v, %v", records, err)
	}
}

func TestLogErrors(t *testing.T) {
	good := encodeLog(t, phaseRecord("enter-initrd"))
	for _, bad := range [][]byte{good[1:], good[:len(good)-1], []byte("\x1e{\n"), bytes.Repeat([]byte("\x1e{}\n"), maxRecords+1)} {
		if records, err := ParseLog(bad); err == nil || !strings.HasPrefix(err.Error(), "parse measurement log: ") {
			t.Errorf("%.40q: %v, %v", bad, records, err)
		}
	}
	forged, missing := phaseRecord("ready"), phaseRecord("ready")
	forged.Content.String = "enter-initrd"
	missing.Digests = missing.Digests[:1]
	for _, tt := range []struct {
		record     Record
		bank, want string
	}{
		{forged, "sha256", `is not that of "enter-initrd"`}, {missing, "sha384", "record 0: no digest of bank sha384"}, {forged, "md5", `bank "md5" is not known`},
	} {
		if _, err := Replay([]Record{tt.record}, Kernel, tt.bank, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

func FuzzParseLog(f *testing.F) {
	f.Add(encodeLog(f, phaseRecord("enter-initrd"), phaseRecord("ready")))
	f.Fuzz(func(t *testing.T, log []byte) {
		records, err := ParseLog(log)
		if err != nil {
			return
		}
		if again, err := ParseLog(encodeLog(t, records...)); err != nil || len(again) != len(records) {
			t.Errorf("%d records came back as %d, %v", len(records), len(again), err)
		}
		_, _ = Replay(records, Kernel, "sha256", make([]byte, 32))
	})
}
