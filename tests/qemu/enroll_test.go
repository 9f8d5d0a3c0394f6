package qemu

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeepWantsEveryKey: a variable store is kept only when PK, KEK and db are in it.
func TestKeepWantsEveryKey(t *testing.T) {
	dir := t.TempDir()
	vars, path := filepath.Join(dir, "vars.fd"), filepath.Join(dir, "kept", "vars.fd")
	content := "certdb\x00"
	for i, v := range secureBootVariables {
		if err := os.WriteFile(vars, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := keep(vars, path); err == nil || !strings.Contains(err.Error(), "variable "+v.name+" is not set") {
			t.Errorf("with %d variables: %v", i, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with %d variables: kept: %v", i, err)
		}
		content += "\x01\x02" + string(v.stored())
	}
	if err := os.WriteFile(vars, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keep(vars, path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("kept %q, %v", got, err)
	}
}
