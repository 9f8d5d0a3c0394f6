package kmsg

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRecords(t *testing.T) {
	got := Records(Err, "one\ntwo\n"+strings.Repeat("x", maxLine+1))
	want := []string{"<27>one\n", "<27>two\n", "<27>" + strings.Repeat("x", maxLine) + "\n", "<27>… x\n"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestLongLinesAreSplitBetweenCharacters(t *testing.T) {
	for _, line := range []string{strings.Repeat("ö", 3000), "x" + strings.Repeat("世", 3000), strings.Repeat("\xbf", 3000)} {
		whole := ""
		for i, r := range Records(Info, line) {
			text := strings.TrimSuffix(strings.TrimPrefix(r, "<30>"), "\n")
			if len(text) > maxLine || utf8.ValidString(line) && !utf8.ValidString(text) {
				t.Errorf("record %d has %d bytes and ends %q", i, len(text), text[len(text)-3:])
			}
			if i > 0 {
				text = strings.TrimPrefix(text, "… ")
			}
			whole += text
		}
		if whole != line {
			t.Errorf("%d bytes came back, want %d", len(whole), len(line))
		}
	}
}

// TestKernelTakesLongLines writes a line of 5,000 bytes, which is fewer records
// than the kernel's rate limit, and reads the kernel's log.
func TestKernelTakesLongLines(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("writing the kernel log needs root")
	}
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	log, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("kmsg test %d ", time.Now().UnixNano())
	line += strings.Repeat("x", 5000-len(line))
	if err := log.Write(Info, line+"\nkmsg test ends"); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		whole := ""
		for b := bufio.NewReaderSize(f, 8192); ; { // a read(2) gives one record
			record, err := b.ReadString('\n')
			_, text, ok := strings.Cut(strings.TrimSuffix(record, "\n"), ";")
			switch {
			case err != nil || text == "kmsg test ends":
				read <- whole
				return
			case ok && (whole == "" && strings.HasPrefix(text, "kmsg test ") || whole != "" && strings.HasPrefix(text, `\xe2\x80\xa6 x`)):
				whole += strings.TrimPrefix(text, `\xe2\x80\xa6 `) // the kernel escapes what is not ASCII
			}
		}
	}()
	select {
	case whole := <-read:
		if whole != line {
			t.Errorf("%d bytes came back, want %d", len(whole), len(line))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the records did not come back")
	}
}
