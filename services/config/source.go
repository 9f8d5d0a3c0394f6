package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"holdfast/services/nodeconfig"
)

// document is what a source holds.
type document struct {
	data   []byte
	source string
}

// find returns the first source's document. A source that cannot be read is a
// fault, and the next one is tried.
func (h host) find() (document, []nodeconfig.Fault) {
	var faults []nodeconfig.Fault
	fault := func(source string, err error) {
		faults = append(faults, nodeconfig.Fault{Source: source, Text: err.Error()})
	}
	data, err := readFwCfg(h.fwCfg)
	if err == nil {
		return document{data, "fw_cfg"}, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		fault("fw_cfg", err)
	}
	disk, err := h.cidata()
	if err != nil {
		fault("cidata", err)
	}
	if disk.kind == "" {
		return document{}, faults
	}
	if data, err = userData(disk); err != nil {
		fault("cidata", err)
		return document{}, faults
	}
	return document{data, "cidata user-data"}, faults
}

func readFwCfg(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readDocument(f)
}

// readDocument reads one byte more than a document may have, so that the
// parser sees that it is too long.
func readDocument(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, nodeconfig.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	return data, nil
}

// disk is a block device with a file system.
type disk struct{ path, kind string }

// Disks that hold no seed and need not be looked at.
var notSeeds = []string{"loop", "ram", "zram", "dm-", "fd"}

// cidata finds the disk or partition with that label; without one the result
// has no kind. A disk that cannot be read is passed over.
func (h host) cidata() (disk, error) {
	entries, err := os.ReadDir(h.sysBlock)
	if errors.Is(err, fs.ErrNotExist) {
		return disk{}, nil
	} else if err != nil {
		return disk{}, err
	}
	for _, e := range entries {
		if hasPrefix(e.Name(), notSeeds) || isEmpty(filepath.Join(h.sysBlock, e.Name(), "size")) {
			continue
		}
		path := filepath.Join(h.dev, e.Name())
		if kind, name := identify(path); strings.EqualFold(name, "cidata") {
			return disk{path, kind}, nil
		}
	}
	return disk{}, nil
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func isEmpty(sizeFile string) bool {
	size, err := os.ReadFile(sizeFile)
	return err != nil || strings.TrimSpace(string(size)) == "0"
}

func identify(path string) (kind, name string) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	return label(f)
}

// userData reads the document from a disk that is not trusted: the kernel's
// file systems never see it.
func userData(d disk) ([]byte, error) {
	f, err := os.OpenFile(d.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	read := readFAT
	if d.kind == "iso9660" {
		read = readISO
	}
	data, err := read(f, "user-data", nodeconfig.MaxSize+1) // the parser sees that it is too long
	if err != nil {
		return nil, fmt.Errorf("read user-data: %w", err)
	}
	return data, nil
}
