package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/init/status"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

const fwConfig = "opt/holdfast/config"

func TestNoNetworkInterface(t *testing.T) {
	t.Parallel()
	cfg := release.Open(t).Machine(t)
	cfg.NoNIC, cfg.Forwards = true, nil
	vm := qemu.StartT(t, cfg)
	release.Up(t, vm)
	release.Await(t, vm, fault("no network interface"))
	release.PowerOff(t, vm)
}

func TestNoDHCPAnswer(t *testing.T) {
	t.Parallel()
	cfg := release.Open(t).Machine(t)
	cfg.NoNIC, cfg.Forwards = true, nil
	cfg.Args = []string{"-netdev", "hubport,id=silent,hubid=0", "-device", "virtio-net-pci,netdev=silent"}
	vm := qemu.StartT(t, cfg)
	release.Up(t, vm)
	release.Await(t, vm, fault("no DHCP answer"))
	release.PowerOff(t, vm)
}

const badConfig = `apiVersion: holdfast/v1
kind: NodeConfig
hostname: typo-node
kubelet:
  maxPodz: 20
  maxPods: many
demo: true
`

// survivesBadConfig checks that the sound part of badConfig applies and both
// faults are told with their places.
func survivesBadConfig(t *testing.T, cfg qemu.Config) {
	t.Helper()
	vm := qemu.StartT(t, cfg)
	report := release.Up(t, vm)
	for _, want := range []string{"kubelet.maxPodz", "kubelet.maxPods"} {
		if !fault(want)(report) {
			t.Errorf("no fault names %s: %+v", want, report.Faults)
		}
	}
	if body := get(t, vm, "/"); !strings.Contains(body, "typo-node") {
		t.Errorf("the pod does not know the node by its configured name: %s", body)
	}
	release.PowerOff(t, vm)
}

func TestBadConfigFromFirmware(t *testing.T) {
	t.Parallel()
	cfg := release.Open(t).Machine(t)
	cfg.FWCfg = map[string]string{fwConfig: badConfig}
	survivesBadConfig(t, cfg)
}

func TestBadConfigFromDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	img, userData := filepath.Join(dir, "cidata.img"), filepath.Join(dir, "user-data")
	if err := os.WriteFile(userData, []byte(badConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mkfs.vfat", "-C", "-n", "cidata", img, "2048"}, {"mcopy", "-i", img, userData, "::/user-data"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args[0], err, out)
		}
	}
	cfg := release.Open(t).Machine(t)
	cfg.Drives = []qemu.Drive{{File: img}}
	survivesBadConfig(t, cfg)
}

func TestConfigThatIsNotYAML(t *testing.T) {
	t.Parallel()
	cfg := release.Open(t).Machine(t)
	cfg.FWCfg = map[string]string{fwConfig: "{{{ not: [yaml"}
	vm := qemu.StartT(t, cfg)
	report := release.Up(t, vm)
	if !fault("config")(report) {
		t.Errorf("no fault tells of the document: %+v", report.Faults)
	}
	release.PowerOff(t, vm)
}

// TestOtherHardware boots from NVMe and virtio-scsi, where device names differ.
func TestOtherDisks(t *testing.T) {
	for _, bus := range []string{"nvme", "virtio-scsi"} {
		t.Run(bus, func(t *testing.T) {
			t.Parallel()
			cfg := release.Open(t).Machine(t)
			cfg.DiskBus = bus
			vm := qemu.StartT(t, cfg)
			release.Await(t, vm, func(r status.Report) bool { return r.Posture.State == "ext4" })
			get(t, vm, "/healthz")
		})
	}
}
