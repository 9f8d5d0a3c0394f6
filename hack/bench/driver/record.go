package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// record is what a service writes: 24 bytes, three little-endian numbers.
//
//	offset  size  field
//	     0     8  kind: 's' start, 'x' exit
//	     8     8  process
//	    16     8  CLOCK_MONOTONIC in nanoseconds
type record struct {
	kind byte
	pid  int
	at   int64
}

const (
	recordSize = 24
	kindStart  = 's'
	kindExit   = 'x'
)

func decode(b []byte) record {
	return record{
		kind: b[0], pid: int(binary.LittleEndian.Uint64(b[8:])), at: int64(binary.LittleEndian.Uint64(b[16:])),
	}
}

// records reads the FIFO that services write to. Every service holds it open
// for writing, so it ends when they all have.
type records struct {
	path string
	r    *os.File
	hold *os.File // our own writing end: without a service the FIFO does not end
}

func openRecords(path string) (*records, error) {
	r, err := openFIFO(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	rs := &records{path: path, r: r}
	return rs, rs.keepOpen()
}

func (rs *records) keepOpen() (err error) {
	rs.hold, err = openFIFO(rs.path, os.O_WRONLY)
	return err
}

// openFIFO makes the FIFO if the service has not done so yet.
func openFIFO(path string, mode int) (*os.File, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return os.OpenFile(path, mode|syscall.O_NONBLOCK, 0)
}

func (rs *records) next() (record, error) {
	b := make([]byte, recordSize)
	if err := rs.r.SetReadDeadline(time.Now().Add(stepLimit)); err != nil {
		return record{}, err
	}
	if _, err := io.ReadFull(rs.r, b); err != nil {
		return record{}, fmt.Errorf("read %s: %w", rs.path, err)
	}
	return decode(b), nil
}

func (rs *records) skip(n int) error {
	for range n {
		if _, err := rs.next(); err != nil {
			return err
		}
	}
	return nil
}

// waitEnd waits until every service has let go of the FIFO.
func (rs *records) waitEnd() error {
	if err := rs.hold.Close(); err != nil {
		return err
	}
	if err := rs.r.SetReadDeadline(time.Now().Add(stepLimit)); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, rs.r); err != nil || n > 0 {
		return fmt.Errorf("wait for the end of %s: %w, after %d bytes that nobody expected", rs.path, err, n)
	}
	return rs.keepOpen()
}
