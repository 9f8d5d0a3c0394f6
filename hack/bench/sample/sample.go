// Package sample is what a measured guest tells the benchmark: raw samples, as one JSON document.
package sample

// Port names the virtio-serial port that a guest writes its samples to.
const Port = "holdfast.bench"

// Where the services of a measured guest leave their records, see Record.
const (
	Records     = "/run/bench-services" // of the services that start and stop
	FlapRecords = "/run/bench-flap"     // of the one that ends when it is told to
	FlapGo      = "/run/bench-go"       // a byte here tells it to
)

// Names of services in a measured guest. Those that start and stop are Service
// and a number of three digits; Group's stop is the stop of them all.
const (
	Service = "svc-"
	Flap    = "flap"
	Group   = "all"
)

// Guest is everything that was measured in one boot of one machine.
type Guest struct {
	Error  string `json:",omitempty"` // what ended the measurement; empty: nothing
	Memory Memory
	Idle   Idle

	StartUs   []float64 // from the request to the service's first instruction
	RestartUs []float64 // from the service's last system call but one to its first instruction
	GoneUs    []float64 // from the request to stop all services until their processes are gone
	StopUs    []float64 // the same, until PID 1 says that all are stopped
}

// Memory is PID 1's, in KiB, as /proc/1/status and /proc/1/smaps_rollup show it.
type Memory struct {
	RSS, Anon, File int64 // resident; of it, what is its own, and what is of files
	PSS             int64 // resident, with shared pages divided by those who share them
	Private         int64 // resident, in pages that no other process maps
}

// Idle is what PID 1 did while nothing happened.
type Idle struct {
	Seconds  int
	Switches int64 // context switches of all its threads
	Wakes    int   // seconds in which there was at least one
}
