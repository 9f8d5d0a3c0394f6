// Package manifest is the file manifest.json, which says what a release is made of.
package manifest

import (
	"encoding/json"
	"fmt"
	"os"
)

// Manifest describes a release.
type Manifest struct {
	Version  string `json:"version"`
	Built    string `json:"built"`    // RFC 3339: no node's clock starts earlier
	Kernel   string `json:"kernel"`   // uname -r
	RootHash string `json:"rootHash"` // of the dm-verity tree, hexadecimal
	Sizes    []Size `json:"sizes"`
}

// Size is how large one part is.
type Size struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Read reads a manifest.
func Read(path string) (*Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// Encode renders the manifest as it stands in its file.
func (m *Manifest) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}
