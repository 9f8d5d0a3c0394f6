package boot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"holdfast/init/status"
	"holdfast/kernel/dm"
	"holdfast/kernel/efivar"
	"holdfast/kernel/mount"
	"holdfast/kernel/sysctl"
	"holdfast/kernel/tpm"
)

// checkPosture reads every claim about the node's integrity from the running
// kernel and firmware. With holdfast.posture=enforce on the signed command
// line a claim that does not hold ends the boot.
func checkPosture(n *Node) (string, error) {
	p := n.readPosture()
	n.Report.Update(func(r *status.Report) { r.Posture = p })
	if len(p.Misses) > 0 {
		missed := errors.New(strings.Join(p.Misses, "; "))
		if mode, _ := n.cmdline.Get("holdfast.posture"); mode == "enforce" {
			return "", missed
		}
		n.Report.Fault("check posture", missed.Error())
	}
	return fmt.Sprintf("Secure Boot %s, lockdown %s, verity %.16s…, TPM %s",
		word(p.SecureBoot, "on", "off"), p.Lockdown, p.VerityRoot, word(p.TPM != "", p.TPM, "absent")), nil
}

func word(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

func (n *Node) readPosture() status.Posture {
	p := status.Posture{SecureBoot: efivar.SecureBoot(), Lockdown: lockdown(), TPM: tpm.Version()}
	if _, err := os.Stat("/proc/modules"); err == nil {
		p.Modules = true
	}
	var verityErr error
	p.VerityRoot, verityErr = rootHashUnder("/")
	want := hex.EncodeToString(n.rootHash[:])
	for _, c := range []struct {
		holds bool
		miss  string
	}{
		{p.SecureBoot, "Secure Boot is off"},
		{p.Lockdown != "none", "kernel lockdown is " + p.Lockdown},
		{p.TPM == "2", "no TPM 2.0"},
		{!p.Modules, "the kernel can load modules"},
		{verityErr == nil, fmt.Sprintf("verity: %v", verityErr)},
		{verityErr != nil || p.VerityRoot == want, fmt.Sprintf("verity root hash is %s, the command line says %s", p.VerityRoot, want)},
	} {
		if !c.holds {
			p.Misses = append(p.Misses, c.miss)
		}
	}
	p.Misses = append(p.Misses, sysctl.Check(sysctls)...)
	return p
}

// lockdown reads the active mode, which stands in brackets.
func lockdown() string {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return "none"
	}
	_, rest, _ := strings.Cut(string(b), "[")
	mode, _, ok := strings.Cut(rest, "]")
	if !ok {
		return "none"
	}
	return mode
}

// rootHashUnder reads the root hash of the verity device that is mounted at a
// path, from the kernel's own table, and checks that nothing is corrupt.
func rootHashUnder(path string) (string, error) {
	mounts, err := mount.List()
	if err != nil {
		return "", err
	}
	targets, err := dm.Table(rootName)
	if err != nil {
		return "", err
	}
	dev, err := os.Readlink("/dev/mapper/" + rootName)
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.Target == path && fmt.Sprintf("../dm-%d", m.Minor) == dev && m.Type == "erofs" {
			return tableRootHash(targets)
		}
	}
	return "", fmt.Errorf("%s is not the verity device", path)
}

// tableRootHash takes the root hash, the ninth parameter, out of a table of
// one verity target (Documentation/admin-guide/device-mapper/verity.rst).
func tableRootHash(targets []dm.Target) (string, error) {
	if len(targets) != 1 || targets[0].Type != "verity" {
		return "", errors.New("not a single verity target")
	}
	f := strings.Fields(targets[0].Params)
	if len(f) < 10 {
		return "", fmt.Errorf("verity table has %d parameters, want at least 10", len(f))
	}
	return f[8], nil
}
