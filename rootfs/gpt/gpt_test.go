package gpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const mib = 1 << 20

// memDisk is a disk in memory that keeps what is written to it, sector by
// sector, and between which flushes.
type memDisk struct {
	data   []byte
	epochs [][]sectorWrite // closed by Sync
	open   []sectorWrite
}

type sectorWrite struct {
	offset int64
	data   []byte
}

func (d *memDisk) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(d.data).ReadAt(b, off)
}

func (d *memDisk) WriteAt(b []byte, off int64) (int, error) {
	copy(d.data[off:], b)
	for i := 0; i < len(b); i += 512 {
		d.open = append(d.open, sectorWrite{off + int64(i), bytes.Clone(b[i:min(i+512, len(b))])})
	}
	return len(b), nil
}

func (d *memDisk) Sync() error {
	d.epochs, d.open = append(d.epochs, d.open), nil
	return nil
}

// testTable is the layout of a small disk, with a last partition to extend.
func testTable(sectorSize int, sizeBytes uint64) *Table {
	at := func(m int) uint64 { return uint64(m * mib / sectorSize) }
	return &Table{
		DiskGUID: mustParseGUID("11111111-2222-3333-4444-555555555555"), SectorSize: sectorSize, Sectors: sizeBytes / uint64(sectorSize),
		Entries: []Entry{
			{1, TypeESP, mustParseGUID("00000000-0000-0000-0000-000000000001"), at(1), at(2) - 1, 0, "ESP"},
			{2, TypeRoot, mustParseGUID("00000000-0000-0000-0000-000000000002"), at(2), at(3) - 1, 1 << 60, "root_0.1.0"},
			{3, TypeRootVerity, mustParseGUID("00000000-0000-0000-0000-000000000003"), at(3), at(4) - 1, 0, "verity_0.1.0"},
			{6, TypeLinux, mustParseGUID("00000000-0000-0000-0000-000000000006"), at(4), at(5) - 1, AttrFormatted, "state ⚓"},
		},
	}
}

// write puts the table on a new disk.
func write(t *testing.T, table *Table, sizeBytes int) *memDisk {
	t.Helper()
	d := &memDisk{data: make([]byte, sizeBytes)}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, d *memDisk, sectorSize int) *Table {
	t.Helper()
	table, err := Read(d, int64(len(d.data)), sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// same compares what is in the tables, not where they were read.
func same(a, b *Table) bool {
	return a.DiskGUID == b.DiskGUID && a.SectorSize == b.SectorSize && a.Sectors == b.Sectors && reflect.DeepEqual(a.Entries, b.Entries)
}

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want int
	}{
		{"GUID", GUID{}, 16},
		{"header", rawHeader{}, headerSize},
		{"entry", rawEntry{}, entrySize},
	} {
		if got := binary.Size(tt.v); got != tt.want {
			t.Errorf("%s: %d bytes on disk, want %d", tt.name, got, tt.want)
		}
	}
}

func TestGUID(t *testing.T) {
	const text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	disk := GUID{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	for _, s := range []string{text, strings.ToUpper(text)} {
		if g, err := ParseGUID(s); err != nil || g != disk || g.String() != text {
			t.Errorf("ParseGUID(%s) = % x, %v", s, g[:], err)
		}
	}
	if g := GUIDFromText([16]byte{0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}); g != disk {
		t.Errorf("GUIDFromText = % x", g[:])
	}
	for _, s := range []string{"", text[1:], text + "0", "g" + text[1:], strings.ReplaceAll(text, "-", "+"), "-" + text[1:]} {
		if _, err := ParseGUID(s); err == nil {
			t.Errorf("ParseGUID(%q) succeeded", s)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		t.Run(fmt.Sprint(sectorSize), func(t *testing.T) {
			want := testTable(sectorSize, 8*mib)
			d := write(t, want, 8*mib)
			if got := read(t, d, sectorSize); !same(got, want) {
				t.Errorf("read %+v, want %+v", got, want)
			}
			d.epochs = nil
			if err := read(t, d, sectorSize).Write(d); err != nil {
				t.Fatal(err)
			}
			for _, w := range slices.Concat(d.epochs...) {
				if w.offset == 0 {
					t.Error("an unchanged protective MBR was written again")
				}
			}
		})
	}
}

func TestLookup(t *testing.T) {
	table := testTable(512, 8*mib)
	tests := []struct {
		name string
		got  *Entry
		want int
	}{
		{"name", table.ByName("verity_0.1.0"), 3},
		{"UUID", table.ByUUID(mustParseGUID("00000000-0000-0000-0000-000000000006")), 6},
		{"number", table.ByNumber(2), 2},
	}
	for _, tt := range tests {
		if tt.got == nil || tt.got.Number != tt.want {
			t.Errorf("by %s: %+v, want partition %d", tt.name, tt.got, tt.want)
		}
	}
	if table.ByName("x") != nil || table.ByUUID(GUID{}) != nil || table.ByNumber(4) != nil {
		t.Error("found what is not there")
	}
}

func TestGrowAndExtend(t *testing.T) {
	d := write(t, testTable(512, 8*mib), 8*mib)
	d.data = append(d.data, make([]byte, 5*mib+512)...) // an odd size
	table := read(t, d, 512)
	for _, err := range []error{table.Grow(uint64(len(d.data) / 512)), table.Extend(6), table.Write(d)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, d, 512)
	// 33 sectors of backup table take the last MiB, of which 13 MiB + 512 has but one sector.
	if e := got.ByNumber(6); e.LastLBA != 12*mib/512-1 || e.Attributes != AttrFormatted {
		t.Errorf("extended partition is %+v", e)
	}
	if got.Sectors != uint64(len(d.data)/512) {
		t.Errorf("table for %d sectors", got.Sectors)
	}
	sgdisk(t, d.data)

	if err := table.Extend(2); err == nil || err.Error() != "extend partition 2: partition 6 lies behind it" {
		t.Errorf("extend in the middle: %v", err)
	}
	if err := table.Extend(5); err == nil || err.Error() != "extend partition 5: no such partition" {
		t.Errorf("extend nothing: %v", err)
	}
	if err := table.Grow(100); err == nil {
		t.Error("grew to a smaller size")
	}
}

func TestDamage(t *testing.T) {
	const end = 8 * mib
	flip := func(offsets ...int) func([]byte) []byte {
		return func(b []byte) []byte {
			for _, o := range offsets {
				b[o] ^= 1
			}
			return b
		}
	}
	tests := []struct {
		name string
		do   func([]byte) []byte
		want string // error, "" if a table is found
	}{
		{"nothing", flip(), ""},
		{"MBR", flip(450), ""},
		{"primary header", flip(512 + 56), ""},
		{"primary signature", flip(512), ""},
		{"primary entries", flip(1024 + 3), ""},
		{"backup header", flip(end - 512), ""},
		{"both headers", flip(512+56, end-512+57), "read partition table: primary: LBA 1: header CRC"},
		{"signature and entries", flip(512, end-33*512), `read partition table: primary: LBA 1: no signature "EFI PART"; backup: LBA 16383: entries CRC`},
		{"grown, then primary header", func(b []byte) []byte { return flip(512 + 56)(append(b, make([]byte, mib)...)) }, ""},
		{"grown, then primary entries", func(b []byte) []byte { return flip(1024)(append(b, make([]byte, mib)...)) }, ""},
		{"shrunk", func(b []byte) []byte { return b[:7*mib] }, "read partition table: primary: LBA 1: table ends at LBA 16383, the disk has 14336 sectors"},
		{"empty", func(b []byte) []byte { clear(b); return b }, "read partition table: primary: LBA 1: no signature"},
		{"tiny", func(b []byte) []byte { return b[:1000] }, "read partition table: disk of 1000 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := testTable(512, end)
			d := write(t, want, end)
			d.data = tt.do(d.data)
			got, err := Read(d, int64(len(d.data)), 512)
			if tt.want != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
					t.Fatalf("error %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil || !same(got, want) {
				t.Fatalf("read %+v, %v", got, err)
			}
			if err := got.Write(d); err != nil {
				t.Fatal(err)
			}
			if len(d.data) == end {
				sgdisk(t, d.data)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		do   func(*Table)
		want string
	}{
		{"sector size", func(t *Table) { t.SectorSize = 100 }, "sector size 100"},
		{"tiny disk", func(t *Table) { t.Sectors = 68 }, "disk of 68 sectors, expected at least 69"},
		{"huge disk", func(t *Table) { t.Sectors = 1 << 60 }, "disk of 1152921504606846976 sectors"},
		{"number 0", func(t *Table) { t.Entries[0].Number = 0 }, "partition 0: expected a number from 1 to 128"},
		{"number 129", func(t *Table) { t.Entries[0].Number = 129 }, "partition 129: expected a number from 1 to 128"},
		{"number twice", func(t *Table) { t.Entries[0].Number = 2 }, "partition 2: number used twice"},
		{"no type", func(t *Table) { t.Entries[1].Type = GUID{} }, "partition 2: no type"},
		{"no UUID", func(t *Table) { t.Entries[1].UUID = GUID{} }, "partition 2: no UUID"},
		{"UUID twice", func(t *Table) { t.Entries[1].UUID = t.Entries[0].UUID }, "partition 2: same UUID"},
		{"backwards", func(t *Table) { t.Entries[1].LastLBA = 34 }, "partition 2: starts at LBA 4096, behind its end 34"},
		{"before the first usable", func(t *Table) { t.Entries[0].FirstLBA = 33 }, "partition 1: LBA 33 to 4095 is not within the usable 34 to 16350"},
		{"behind the last usable", func(t *Table) { t.Entries[3].LastLBA = 16351 }, "partition 6: LBA 8192 to 16351 is not within"},
		{"overlap", func(t *Table) { t.Entries[2].FirstLBA-- }, "partition 3: overlaps partition 2 at LBA 6143"},
		{"long name", func(t *Table) { t.Entries[0].Name = strings.Repeat("⚓", 37) }, "partition 1: name"},
		{"NUL in name", func(t *Table) { t.Entries[0].Name = "a\x00b" }, "partition 1: name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := testTable(512, 8*mib)
			tt.do(table)
			d := &memDisk{data: make([]byte, 8*mib)}
			err := table.Write(d)
			if err == nil || !strings.HasPrefix(err.Error(), "write partition table: "+tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if len(d.epochs)+len(d.open) != 0 {
				t.Error("something was written")
			}
		})
	}
}

// TestCrash stops Write at every instant and finds the old table or the new.
func TestCrash(t *testing.T) {
	damage := map[string]func(*memDisk){
		"healthy":                func(*memDisk) {},
		"primary header damaged": func(d *memDisk) { d.data[512+60] ^= 1 },
		"primary array damaged":  func(d *memDisk) { d.data[1024] ^= 1 },
		"backup damaged":         func(d *memDisk) { d.data[8*mib-512] ^= 1 },
	}
	for name, hurt := range damage {
		for _, grow := range []int{0, 512, 5 * 512, 3 * mib} {
			t.Run(fmt.Sprintf("%s, grown by %d", name, grow), func(t *testing.T) {
				d := write(t, testTable(512, 8*mib), 8*mib)
				hurt(d)
				d.data, d.epochs = append(d.data, make([]byte, grow)...), nil
				before := &memDisk{data: bytes.Clone(d.data)}
				old, table := read(t, d, 512), read(t, d, 512)
				table.ByName("root_0.1.0").Name = "_empty"
				for _, err := range []error{table.Grow(uint64(len(d.data) / 512)), table.Extend(6), table.Write(d)} {
					if err != nil {
						t.Fatal(err)
					}
				}
				checkCrashes(t, before, d.epochs, old, table)
			})
		}
	}
}

// checkCrashes tries, in each epoch between two flushes: every prefix, every
// suffix, all but one, only one, and random subsets of its sectors.
func checkCrashes(t *testing.T, before *memDisk, epochs [][]sectorWrite, old, table *Table) {
	rng := rand.New(rand.NewPCG(1, 2))
	for e, epoch := range epochs {
		n := len(epoch)
		for i := range n + 1 {
			for kind, keep := range map[string]func(int) bool{
				"prefix":     func(k int) bool { return k < i },
				"suffix":     func(k int) bool { return k >= i },
				"all but":    func(k int) bool { return k != i },
				"only":       func(k int) bool { return k == i },
				"random set": func(int) bool { return rng.IntN(2) == 0 },
			} {
				undo := before.apply(epoch, keep)
				got, err := Read(before, int64(len(before.data)), 512)
				if err != nil || !same(got, old) && !same(got, table) {
					t.Fatalf("epoch %d, %s %d of %d sectors: read %+v, %v", e, kind, i, n, got, err)
				}
				before.apply(undo, func(int) bool { return true })
			}
		}
		before.apply(epoch, func(int) bool { return true })
	}
	if got := read(t, before, 512); !same(got, table) {
		t.Errorf("read %+v in the end, want %+v", got, table)
	}
}

// apply writes some of the sectors and returns what undoes that.
func (d *memDisk) apply(epoch []sectorWrite, keep func(int) bool) (undo []sectorWrite) {
	for k, w := range epoch {
		if keep(k) {
			there := d.data[w.offset : w.offset+int64(len(w.data))]
			undo = append(undo, sectorWrite{w.offset, bytes.Clone(there)})
			copy(there, w.data)
		}
	}
	return undo
}

func TestSgdisk(t *testing.T) {
	d := write(t, testTable(512, 8*mib), 8*mib)
	out := sgdisk(t, d.data)
	for _, want := range []string{"11111111-2222-3333-4444-555555555555", "root_0.1.0", "EF00", "8300"} {
		if !strings.Contains(out, want) {
			t.Errorf("sgdisk does not print %s:\n%s", want, out)
		}
	}

	// And the other way round: read what sgdisk wrote.
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 8*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "sgdisk", "-n", "1:1M:+1M", "-t", "1:"+TypeRoot.String(), "-c", "1:root_0.1.0", "-A", "1:set:48", path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table := read(t, &memDisk{data: data}, 512)
	e := table.ByName("root_0.1.0")
	if e == nil || e.Number != 1 || e.Type != TypeRoot || e.FirstLBA != 2048 || e.Sectors() != 2048 || e.Attributes != AttrFormatted {
		t.Errorf("read %+v", table)
	}
}

// sgdisk lets sgdisk verify and print a disk.
func sgdisk(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "sgdisk", "-v", "-p", path)
	if !strings.Contains(out, "No problems found") || strings.Contains(out, "aution") || strings.Contains(out, "arning") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	return out
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil && os.Getenv("CI") == "" {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// FuzzRead mends the check sums of what it gets, or nothing would come far.
func FuzzRead(f *testing.F) {
	const size = 128 * 512
	table := &Table{DiskGUID: GUID{1}, SectorSize: 512, Sectors: size / 512, Entries: []Entry{{1, TypeESP, GUID{2}, 40, 50, 0, "ESP"}}}
	d := &memDisk{data: make([]byte, size)}
	if err := table.Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add(d.data[512:512+headerSize], d.data[1024:1024+2*entrySize])
	f.Add([]byte("EFI PART"), []byte{})
	f.Fuzz(func(t *testing.T, header, entries []byte) {
		d := &memDisk{data: make([]byte, size)}
		copy(d.data[512:512+headerSize], header)
		copy(d.data[1024:1024+arraySize], entries)
		binary.LittleEndian.PutUint32(d.data[512+88:], crc32.ChecksumIEEE(d.data[1024:1024+arraySize]))
		clear(d.data[512+16 : 512+20])
		binary.LittleEndian.PutUint32(d.data[512+16:], crc32.ChecksumIEEE(d.data[512:512+headerSize]))
		table, err := Read(d, size, 512)
		if err != nil {
			return
		}
		if err := table.Write(d); err != nil {
			t.Fatalf("%+v read but not written: %v", table, err)
		}
		if again, err := Read(d, size, 512); err != nil || !same(again, table) {
			t.Fatalf("wrote %+v, read %+v, %v", table, again, err)
		}
	})
}
