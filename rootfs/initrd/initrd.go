// Package initrd writes an initial RAM file system: a zstd-compressed cpio archive in the kernel's "newc" format.
//
// The format is that of Documentation/driver-api/early-userspace/buffer-format.rst:
// for each file a header of 13 fields of eight hexadecimal digits behind the
// magic "070701", the name with its NUL, and the data, each padded to four bytes.
package initrd

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

const (
	modeFile = 0o100000
	modeDir  = 0o040000
)

// Build makes an archive whose only program is init, at /init.
func Build(init []byte) ([]byte, error) {
	var b bytes.Buffer
	entry(&b, 1, "init", modeFile|0o755, init)
	entry(&b, 2, "sysroot", modeDir|0o755, nil)
	entry(&b, 3, "TRAILER!!!", 0, nil)
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(b.Bytes(), nil), w.Close()
}

// entry appends one file. Owner, times and device numbers are zero.
func entry(b *bytes.Buffer, inode int, name string, mode int, data []byte) {
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name)
	b.WriteByte(0)
	pad(b)
	b.Write(data)
	pad(b)
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
