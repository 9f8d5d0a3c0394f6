// Package sysctl sets kernel parameters from a table.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Setting is one parameter, its name as under /proc/sys with slashes.
type Setting struct{ Name, Value string }

// Apply writes every setting, and returns all failures joined.
func Apply(table []Setting) error {
	var errs []error
	for _, s := range table {
		if err := os.WriteFile("/proc/sys/"+s.Name, []byte(s.Value), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("set %s=%s: %w", s.Name, s.Value, reason(err)))
		}
	}
	return errors.Join(errs...)
}

// Check lists the settings that the kernel does not hold now.
func Check(table []Setting) []string {
	var misses []string
	for _, s := range table {
		b, err := os.ReadFile("/proc/sys/" + s.Name)
		got := strings.Join(strings.Fields(string(b)), " ")
		if err != nil || got != s.Value {
			misses = append(misses, fmt.Sprintf("sysctl %s is %q, want %q", s.Name, got, s.Value))
		}
	}
	return misses
}

// reason drops the path, which the message already names.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
