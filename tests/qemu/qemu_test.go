package qemu

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/init/status"
)

func TestArguments(t *testing.T) {
	w := wiring{vars: "/d/vars.fd", disk: "/d,e/disk.qcow2", qmp: 3, console: 4, status: 5, tpm: 6, pipe: "/t/x.test", statusPort: "p",
		fwCfg: map[string]string{"opt/b": "/d/b", "opt/a": "/d/a"}}
	for _, c := range []struct {
		name       string
		cfg        Config
		has, hasNo []string
	}{
		{"default under TCG", Config{Accel: "tcg"},
			[]string{"-accel tcg,thread=multi,tb-size=512", "-cpu max,-cx16", "-m 2048", "-smp 2", "-no-reboot",
				"file=/d,,e/disk.qcow2,discard=unmap,cache=unsafe -device virtio-blk-pci,iothread=io,drive=disk0,bootindex=0",
				"format=qcow2", "restrict=on -device", "tpm-crb",
				"-fw_cfg name=opt/a,file=/d/a -fw_cfg name=opt/b,file=/d/b"},
			[]string{"i6300esb", "hostfwd"}},
		{"KVM", Config{Accel: "kvm"}, []string{"-accel kvm", "-cpu host"}, []string{"tcg"}},
		{"reboot, watchdog", Config{Accel: "tcg", Reboot: true, Watchdog: true}, []string{"i6300esb"}, []string{"-no-reboot"}},
		{"a kernel without firmware", Config{Accel: "tcg", Kernel: "/k", Initrd: "/i", Cmdline: "a=1 b"},
			[]string{"-kernel /k -append a=1 b -initrd /i"}, []string{"pflash"}},
		{"no network card", Config{Accel: "tcg", NoNIC: true}, nil, []string{"-netdev", "virtio-net"}},
		{"forwards", Config{Accel: "tcg", Forwards: []Forward{{Guest: 80}, {Guest: 81, Host: 8081}},
			GuestForwards: []GuestForward{{Guest: "10.0.2.100:5000", Host: "127.0.0.1:9"}}},
			[]string{"restrict=on,hostfwd=tcp:127.0.0.1:0-:80,hostfwd=tcp:127.0.0.1:8081-:81," +
				"guestfwd=tcp:10.0.2.100:5000-cmd:/t/x.test holdfast-qemu-pipe 127.0.0.1:9"}, nil},
		{"disks", Config{Accel: "tcg", DiskBus: "nvme", Cache: "writethrough", Drives: []Drive{
			{File: "a.iso", Bus: "cdrom"}, {File: "b.raw", Bus: "virtio-scsi", Writable: true}}},
			[]string{"cache=writethrough -device nvme,serial=disk0,drive=disk0,bootindex=0 -device virtio-scsi-pci",
				"id=disk1,format=raw,file=a.iso,readonly=on -device scsi-cd,drive=disk1 -drive",
				"id=disk2,format=raw,file=b.raw,discard=unmap,cache=writethrough -device scsi-hd,drive=disk2"}, nil},
	} {
		args, err := arguments(c.cfg.withDefaults(), w)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		line := strings.Join(args, " ")
		for _, s := range c.has {
			if !strings.Contains(line, s) {
				t.Errorf("%s: %q is missing in %s", c.name, s, line)
			}
		}
		for _, s := range c.hasNo {
			if strings.Contains(line, s) {
				t.Errorf("%s: %q should not be in %s", c.name, s, line)
			}
		}
	}
}

func TestArgumentsRefuse(t *testing.T) {
	for want, c := range map[string]Config{
		`accelerator "xen": expected kvm or tcg`:                                      {Accel: "xen"},
		`disk d: bus "ide": expected one of cdrom, nvme, virtio-blk, virtio-scsi`:     {Accel: "tcg", DiskBus: "ide"},
		`disk /x: bus "floppy": expected one of cdrom, nvme, virtio-blk, virtio-scsi`: {Accel: "tcg", Drives: []Drive{{File: "/x", Bus: "floppy"}}},
	} {
		if _, err := arguments(c.withDefaults(), wiring{disk: "d"}); err == nil || err.Error() != want {
			t.Errorf("error %v, expected %s", err, want)
		}
	}
}

func TestConsoleLines(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []string // as read, piece by piece
		want []string
	}{
		{"lines", []string{"one\r\ntwo\n", "\n", "three"}, []string{"one", "two", "three"}},
		{"a line in pieces", []string{"on", "e\n"}, []string{"one"}},
		{"firmware clears the screen", []string{"\x1b[2J\x1b[01;01H\x1b[=3h", "\x1b[2J\x1b[01;01HBdsDxe: a\r\n"}, []string{"BdsDxe: a"}},
		{"colours", []string{"\x1b[0m\x1b[37m\x1b[40mgreen\x1b[0", "m leaf\n"}, []string{"green leaf"}},
		{"a menu drawn by position", []string{"\x1b[03;10Hentry 1\x1b[04;10Hentry 2\x1b[0m"}, []string{"entry 1", "entry 2"}},
		{"two-byte escapes", []string{"a\x1bcb\n"}, []string{"ab"}},
		{"control bytes", []string{"a\x00\x07b\tc \n"}, []string{"ab\tc"}},
		{"an endless sequence", []string{"\x1b[" + strings.Repeat("1", 100) + "\nx\n"}, []string{strings.Repeat("1", 70), "x"}},
		{"an endless line", []string{strings.Repeat("x", maxLine+1) + "\n"}, []string{strings.Repeat("x", maxLine)}},
	} {
		var mirror bytes.Buffer
		con := newConsole(&mirror)
		for _, s := range c.in {
			con.feed([]byte(s), time.Now())
		}
		con.end()
		lines, ended, _ := con.snapshot(0)
		var got []string
		for i, l := range lines {
			if l.N != i {
				t.Errorf("%s: line %d has number %d", c.name, i, l.N)
			}
			got = append(got, l.Text)
		}
		if !slices.Equal(got, c.want) || !ended {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
		if m := strings.Join(c.want, "\n") + "\n"; mirror.String() != m {
			t.Errorf("%s: mirror got %q, expected %q", c.name, mirror.String(), m)
		}
	}
}

func TestReportsAreDecoded(t *testing.T) {
	guest, host := net.Pipe()
	r := newReports()
	go r.read(host)
	go func() {
		for _, line := range []string{`{"phase":"booting"}`, `{"phase":"run`, `{"phase":"running"}`} {
			guest.Write([]byte(line + "\n"))
		}
	}()
	ctx := deadline(t, 10*time.Second)
	running := func(s status.Report) bool { return s.Phase == status.Running }
	if got, err := r.wait(ctx, running); err != nil || got.Phase != status.Running {
		t.Errorf("%+v, %v", got, err)
	}
	guest.Close()
	got, err := r.wait(ctx, func(s status.Report) bool { return s.Phase == status.ShuttingDown })
	if err == nil || got.Phase != status.Running || !strings.Contains(err.Error(), "newest: phase running") {
		t.Errorf("after the end: %+v, %v", got, err)
	}
}

func TestHostPorts(t *testing.T) {
	got := hostPorts(`Hub -1 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]  13       127.0.0.1 34567       10.0.2.15  8080     0     0
  TCP[ESTABLISHED]   14       127.0.0.1 34567       10.0.2.15  9090     0     0
  TCP[HOST_FORWARD]  12       127.0.0.1 34568       10.0.2.15    22     0     0`)
	if len(got) != 2 || got[8080] != 34567 || got[22] != 34568 {
		t.Errorf("%v", got)
	}
}

// TestPipe copies both ways, and ends when the guest closes its side.
func TestPipe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request, _ := io.ReadAll(conn) // ends when the pipe passes the guest's end on
		conn.Write(append([]byte("got "), request...))
	}()
	var out bytes.Buffer
	if err := pipe(t.Context(), listener.Addr().String(), strings.NewReader("request"), &out); err != nil {
		t.Error(err)
	}
	if out.String() != "got request" {
		t.Errorf("the guest received %q", out.String())
	}
	listener.Close()
	if err := pipe(t.Context(), listener.Addr().String(), strings.NewReader(""), &out); err == nil {
		t.Error("a pipe to a closed port")
	}
}
