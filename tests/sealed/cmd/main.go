// Command cmd is the init of the test's machines: it seals a secret, or has one unsealed, and says on the console how that went.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"holdfast/kernel/mount"
	"holdfast/kernel/power"
	"holdfast/kernel/tpm"
	"holdfast/rootfs/pcrsig"
	"holdfast/rootfs/seal"
	"holdfast/tests/sealed"
)

func main() {
	if err := run(); err != nil {
		say("error", err.Error())
	}
	power.Sync(time.Second)
	fmt.Println(power.Do(power.Off))
}

// say writes a line that the test waits for.
func say(what, text string) { fmt.Printf("\n%s %s: %s\n", sealed.Mark, what, text) }

func run() error {
	for _, m := range []mount.Mount{
		{Source: "proc", Target: "/proc", Type: "proc", Mode: 0o555},
		{Source: "sysfs", Target: "/sys", Type: "sysfs", Mode: 0o555},
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Mode: 0o755},
	} {
		if err := m.Do(); err != nil {
			return err
		}
	}
	if err := tpm.ExtendPhase(11, "enter-initrd"); err != nil {
		return err
	}
	policies, err := readPolicies()
	if err != nil {
		return err
	}
	token, err := os.ReadFile(sealed.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		token, err = sealSecret()
	}
	if err != nil {
		return err
	}
	unseal("first", token, policies)
	if err := tpm.ExtendPhase(11, "leave-initrd"); err != nil {
		return err
	}
	unseal("later", token, policies)
	say("token", base64.StdEncoding.EncodeToString(token))
	return nil
}

// readPolicies reads what the stub took out of the UKI.
func readPolicies() ([]pcrsig.Policy, error) {
	text, err := os.ReadFile(pcrsig.File)
	if err != nil {
		return nil, err
	}
	return pcrsig.Parse(text)
}

func secret() []byte { return bytes.Repeat([]byte("s"), seal.SecretSize) }

func sealSecret() ([]byte, error) {
	text, err := os.ReadFile(pcrsig.KeyFile)
	if err != nil {
		return nil, err
	}
	key, err := pcrsig.ParsePublicKey(text)
	if err != nil {
		return nil, err
	}
	device, err := tpm.Open()
	if err != nil {
		return nil, err
	}
	defer device.Close()
	pcr7, err := seal.ReadPCR(device, 7)
	if err != nil {
		return nil, err
	}
	s, err := seal.Seal(device, key, pcr7, secret())
	if err != nil {
		return nil, err
	}
	return s.Token()
}

func unseal(when string, token []byte, policies []pcrsig.Policy) {
	began := time.Now()
	got, err := tryUnseal(token, policies)
	took := time.Since(began).Milliseconds()
	var changed *seal.PCRError
	verdict := sealed.Verdict{TookMs: took}
	switch {
	case err == nil && bytes.Equal(got, secret()):
		verdict.Opened = true
	case errors.As(err, &changed):
		verdict.PCR, verdict.Text = changed.PCR, err.Error()
	case err != nil:
		verdict.Text = err.Error()
	default:
		verdict.Text = "another secret"
	}
	text, err := json.Marshal(verdict)
	if err != nil {
		text = []byte(err.Error())
	}
	say(when, string(text))
}

func tryUnseal(token []byte, policies []pcrsig.Policy) ([]byte, error) {
	s, err := seal.ParseToken(token)
	if err != nil {
		return nil, err
	}
	device, err := tpm.Open()
	if err != nil {
		return nil, err
	}
	defer device.Close()
	return s.Unseal(device, policies)
}
