// Package wire is what a test on the host and the driver in its test machine say to each other.
//
// Requests and answers are JSON objects, one a line, over the virtio-serial
// port named Port. An answer carries its request's ID; answers come in any order.
package wire

import (
	"encoding/json"
	"syscall"
)

// Port is the name of the virtio-serial port.
const Port = "holdfast.bed"

// Dir is where actors keep what they share, on the machine's state volume.
const Dir = "/var/bed"

// Journal is the file in which actors note what they did: "<nanoseconds since
// boot> <name> <event>", a line each.
const Journal = Dir + "/journal"

// NameVariable tells an actor its service's name.
const NameVariable = "BED_NAME"

// Request asks the driver for one operation; which fields count depends on it.
type Request struct {
	ID      int64
	Op      string
	Path    string   `json:",omitempty"`
	Text    string   `json:",omitempty"`
	PID     int      `json:",omitempty"`
	Signal  int      `json:",omitempty"`
	Args    []string `json:",omitempty"`
	Service string   `json:",omitempty"`
	State   string   `json:",omitempty"`
}

// Answer is an operation's result, or its error.
type Answer struct {
	ID    int64
	Error string          `json:",omitempty"`
	Errno syscall.Errno   `json:",omitempty"` // 0: not a system call's
	Value json.RawMessage `json:",omitempty"`
}

// Process is one process of the machine.
type Process struct {
	PID, PPID int
	State     string // as in proc_pid_stat(5)
	Comm      string
	Cgroup    string
}

// Usage is what one process holds.
type Usage struct {
	RSSKiB  int64
	Threads int
	Files   int
}

// Exit is how a program ended that the driver ran.
type Exit struct {
	Status int // -1: killed by a signal
	Output string
}
