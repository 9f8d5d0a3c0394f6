package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/init/spec"
	"holdfast/services/nodeconfig"
)

var update = flag.Bool("update", false, "write the golden files")

func TestSpecIsHonoured(t *testing.T) {
	data, err := json.Marshal(Spec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse("config", data); err != nil {
		t.Error(err)
	}
}

// The documents are those of the parser's own tests.
func TestRenderGolden(t *testing.T) {
	for _, name := range []string{"none", "full", "kubelet", "pods"} {
		t.Run(name, func(t *testing.T) {
			var doc []byte
			if name != "none" {
				var err error
				if doc, err = os.ReadFile("../nodeconfig/testdata/" + name + ".yaml"); err != nil {
					t.Fatal(err)
				}
			}
			c, _ := nodeconfig.Parse(doc, "test")
			files, faults := Render(c, Defaults{Hostname: "machine", Demo: []byte("kind: Pod\n"), CPUs: 2, MemoryBytes: 2 << 30})
			var b strings.Builder
			for _, f := range faults {
				fmt.Fprintln(&b, f)
			}
			for _, f := range files {
				fmt.Fprintf(&b, "=== %s %o\n%s", f.Name, f.Mode, f.Data)
			}
			golden(t, "testdata/"+name+".golden", b.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}

func TestFit(t *testing.T) {
	preset := nodeconfig.Default().Kubelet
	for name, test := range map[string]struct {
		change func(*nodeconfig.Kubelet)
		faults int
	}{
		"preset":          {func(*nodeconfig.Kubelet) {}, 0},
		"fits":            {func(k *nodeconfig.Kubelet) { k.SystemReserved = map[string]string{"cpu": "1900m"} }, 0},
		"too many CPUs":   {func(k *nodeconfig.Kubelet) { k.SystemReserved = map[string]string{"cpu": "2"} }, 1},
		"too much memory": {func(k *nodeconfig.Kubelet) { k.KubeReserved = map[string]string{"memory": "1Gi"} }, 1},
		"with eviction":   {func(k *nodeconfig.Kubelet) { k.EvictionHard = map[string]string{"memory.available": "85%"} }, 1},
		"both":            {func(k *nodeconfig.Kubelet) { k.KubeReserved = map[string]string{"memory": "1Ti", "cpu": "64"} }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := nodeconfig.Default().Kubelet
			test.change(&k)
			faults := fit(&k, Defaults{CPUs: 2, MemoryBytes: 1 << 30})
			if len(faults) != test.faults {
				t.Errorf("faults %q", faults)
			}
			if test.faults > 0 && !reflect.DeepEqual(k, preset) {
				t.Errorf("not the defaults: %+v", k)
			}
		})
	}
}

// testHost is a machine in a directory.
func testHost(t *testing.T) host {
	dir := t.TempDir()
	h := host{
		fwCfg: dir + "/fw_cfg/raw", sysBlock: dir + "/block", dev: dir + "/dev",
		run: dir + "/run", demo: dir + "/demo.yaml", kubelet: dir + "/kubelet",
		machineID: dir + "/machine-id", memInfo: dir + "/meminfo",
	}
	put(t, h.memInfo, "MemTotal:        2016596 kB\nMemFree:         1 kB\n")
	put(t, h.machineID, "0123456789abcdef0123456789abcdef\n")
	put(t, h.demo, "kind: Pod\n")
	return h
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree lists the files below a directory.
func tree(t *testing.T, dir string) string {
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

const header = "apiVersion: holdfast/v1\nkind: NodeConfig\n"

func TestApply(t *testing.T) {
	h := testHost(t)
	put(t, h.kubelet+"/cpu_manager_state", "{}")
	name, faults, err := h.apply()
	if name != "holdfast-01234567" || len(faults) > 0 || err != nil {
		t.Errorf("without a document: %q, %q, %v", name, faults, err)
	}
	if got, want := tree(t, h.run), "hostname hosts kubelet-flags kubelet.yaml manifests/demo.yaml netd/network.json timed/time.json"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	if got := tree(t, h.kubelet); got != "" {
		t.Errorf("%s survived the reboot", got)
	}

	put(t, h.fwCfg, header+"hostname: node-7\nstaticPods: [{apiVersion: v1, kind: Pod, metadata: {name: web}}]\n"+
		"registries: {mirrors: {docker.io: {endpoints: ['https://mirror.example.org']}}}\ntypo: 1\n")
	put(t, h.kubelet+"/cpu_manager_state", "{}")
	name, faults, err = h.apply()
	if name != "node-7" || len(faults) != 1 || err != nil {
		t.Errorf("with a document: %q, %q, %v", name, faults, err)
	}
	if got, want := tree(t, h.run), "certs.d/docker.io/hosts.toml hostname hosts kubelet-flags kubelet.yaml manifests/default.web.yaml netd/network.json timed/time.json"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	if got := tree(t, h.kubelet); got != "cpu_manager_state" {
		t.Error("pinning of a running kubelet is gone")
	}
}

func TestSources(t *testing.T) {
	h := testHost(t)
	if d, faults := h.find(); d.data != nil || len(faults) > 0 {
		t.Errorf("nothing: %+v, %q", d, faults)
	}
	put(t, h.fwCfg, strings.Repeat("#", 2*nodeconfig.MaxSize))
	if d, _ := h.find(); len(d.data) != nodeconfig.MaxSize+1 {
		t.Errorf("%d bytes of a long document", len(d.data))
	}
	if err := os.Remove(h.fwCfg); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.fwCfg, 0o755); err != nil { // cannot be read
		t.Fatal(err)
	}
	if d, faults := h.find(); d.data != nil || len(faults) != 1 {
		t.Errorf("unreadable: %+v, %q", d, faults)
	}
}

// A seed disk is found among others; what stands on it is not trusted.
func TestCidata(t *testing.T) {
	h := testHost(t)
	seed := image(t, "mkfs.vfat", "-n", "cidata", "-C", "OUT", "2048")
	for name, file := range map[string]string{"vda": image(t, "mkfs.vfat", "-n", "ESP", "-C", "OUT", "2048"), "vdb": seed, "loop0": seed, "vdc": "/dev/null"} {
		put(t, filepath.Join(h.sysBlock, name, "size"), "4096\n")
		if err := os.MkdirAll(h.dev, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, filepath.Join(h.dev, name)); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := h.cidata(); err != nil || d != (disk{h.dev + "/vdb", "vfat"}) {
		t.Errorf("found %+v, %v", d, err)
	}
	put(t, filepath.Join(h.sysBlock, "vdb", "size"), "0\n")
	if d, err := h.cidata(); err != nil || d.kind != "" {
		t.Errorf("found an empty drive: %+v, %v", d, err)
	}
}

// TestReadUserData reads what the usual tools write.
func TestReadUserData(t *testing.T) {
	text := strings.Repeat("line of text\n", 5000)
	seed := t.TempDir()
	put(t, seed+"/user-data", text)
	put(t, seed+"/meta-data", "x")
	put(t, seed+"/a long name that takes several entries of the directory", "y")
	for name, d := range map[string]disk{
		"FAT12":      {fatImage(t, seed, "-F12", "4096"), "vfat"},
		"FAT16":      {fatImage(t, seed, "-F16", "16384"), "vfat"},
		"FAT32":      {fatImage(t, seed, "-F32", "65536"), "vfat"},
		"Joliet":     {image(t, "xorrisofs", "-quiet", "-J", "-V", "cidata", "-o", "OUT", seed), "iso9660"},
		"Rock Ridge": {image(t, "xorrisofs", "-quiet", "-R", "-V", "cidata", "-o", "OUT", seed), "iso9660"},
	} {
		t.Run(name, func(t *testing.T) {
			if data, err := userData(d); err != nil || string(data) != text {
				t.Errorf("%d bytes, %v, want %d", len(data), err, len(text))
			}
		})
	}
}

func TestReadUserDataRefuses(t *testing.T) {
	folder, long, other := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, folder+"/user-data/x", "")
	put(t, long+"/user-data", strings.Repeat("#", 2*nodeconfig.MaxSize))
	put(t, other+"/user-date", "")
	for name, test := range map[string]struct {
		d    disk
		want string
	}{
		"FAT, none":   {disk{fatImage(t, other, "-F12", "8192"), "vfat"}, "user-data: disk has no such file"},
		"ISO, none":   {disk{image(t, "xorrisofs", "-quiet", "-J", "-R", "-o", "OUT", other), "iso9660"}, "user-data: disk has no such file"},
		"FAT, folder": {disk{fatImage(t, folder, "-F12", "8192"), "vfat"}, "user-data is a directory, expected a file"},
		"ISO, folder": {disk{image(t, "xorrisofs", "-quiet", "-J", "-R", "-o", "OUT", folder), "iso9660"}, "expected a file"},
		"FAT, zeros":  {disk{"/dev/zero", "vfat"}, "boot sector: 0 bytes"},
		"ISO, short":  {disk{"/dev/null", "iso9660"}, "read volume descriptor: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			if data, err := userData(test.d); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q, %v, want %q", data, err, test.want)
			}
		})
	}
	for _, d := range []disk{
		{fatImage(t, long, "-F12", "8192"), "vfat"}, {image(t, "xorrisofs", "-quiet", "-J", "-o", "OUT", long), "iso9660"},
	} {
		if data, err := userData(d); err != nil || len(data) != nodeconfig.MaxSize+1 {
			t.Errorf("%s: %d bytes, %v", d.kind, len(data), err)
		}
	}
}

// fatImage is a FAT file system of so many KiB with the files of a directory.
func fatImage(t testing.TB, dir, bits, size string) string {
	t.Helper()
	path := image(t, "mkfs.vfat", bits, "-n", "cidata", "-C", "OUT", size)
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mcopy", append(append([]string{"-s", "-i", path}, files...), "::")...).CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v: %s", err, out)
	}
	return path
}

func FuzzReadUserData(f *testing.F) {
	seed := f.TempDir()
	put(f, seed+"/user-data", "text")
	for path, iso := range map[string]bool{
		fatImage(f, seed, "-F12", "64"): false, image(f, "xorrisofs", "-quiet", "-J", "-R", "-o", "OUT", seed): true,
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.TrimRight(data, "\x00"), iso)
	}
	f.Fuzz(func(t *testing.T, data []byte, iso bool) {
		read := readFAT
		if iso {
			read = readISO
		}
		if b, err := read(bytes.NewReader(data), "user-data", 1000); err == nil && len(b) > 1000 {
			t.Errorf("%d bytes, at most 1000 were asked for", len(b))
		}
	})
}

func TestLabel(t *testing.T) {
	seed := t.TempDir()
	put(t, seed+"/user-data", "x")
	for name, test := range map[string]struct{ image, kind, label string }{
		"FAT12": {image(t, "mkfs.vfat", "-F12", "-n", "cidata", "-C", "OUT", "2048"), "vfat", "cidata"},
		"FAT16": {image(t, "mkfs.vfat", "-F16", "-n", "CIDATA", "-C", "OUT", "16384"), "vfat", "CIDATA"},
		"FAT32": {image(t, "mkfs.vfat", "-F32", "-n", "CIDATA", "-C", "OUT", "65536"), "vfat", "CIDATA"},
		"ISO":   {image(t, "xorrisofs", "-quiet", "-J", "-R", "-V", "cidata", "-o", "OUT", seed), "iso9660", "cidata"},
		"ext4":  {image(t, "mke2fs", "-q", "-t", "ext4", "-L", "cidata", "OUT", "4M"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(test.image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if kind, name := label(f); kind != test.kind || name != test.label {
				t.Errorf("got %q %q, want %q %q", kind, name, test.kind, test.label)
			}
		})
	}
}

// image makes a file system image with the tool that everybody else uses.
func image(t testing.TB, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out := filepath.Join(t.TempDir(), "image")
	for i, a := range args {
		if a == "OUT" {
			args[i] = out
		}
	}
	if b, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", tool, err, b)
	}
	return out
}

func FuzzLabel(f *testing.F) {
	f.Add(bytes.Repeat([]byte("CD001"), 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		if kind, name := label(bytes.NewReader(data)); kind == "" && name != "" || len(name) > 32 {
			t.Errorf("%q %q", kind, name)
		}
	})
}
