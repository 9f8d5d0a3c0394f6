// Package status is what PID 1 says about the node: boot steps, services, posture, faults and memory.
//
// PID 1 keeps the report in /run/holdfast/status.json and writes it, one JSON
// object per line, to the virtio-serial port named Port whenever it changes.
package status

// Port is the name of the virtio-serial port that carries reports to the host.
const Port = "holdfast.status"

// File is where the newest report stands on the node.
const File = "/run/holdfast/status.json"

// Report is the node's state at one moment. Times are milliseconds since the
// kernel started (CLOCK_BOOTTIME).
type Report struct {
	Version  string    `json:"version"`
	BootID   string    `json:"bootID"`
	Phase    Phase     `json:"phase"`
	Firmware Firmware  `json:"firmware"`
	Steps    []Step    `json:"steps"`
	Services []Service `json:"services"`
	Posture  Posture   `json:"posture"`
	Faults   []Fault   `json:"faults"`
	Memory   Memory    `json:"memory"`
}

// Phase is where in its life the node is.
type Phase string

const (
	Booting      Phase = "booting"
	Running      Phase = "running"  // every service is ready
	Degraded     Phase = "degraded" // running with a failed service
	ShuttingDown Phase = "shutting-down"
)

// Firmware is the time that passed before the kernel, as the boot loader
// recorded it in LoaderTimeInitUSec and LoaderTimeExecUSec. Zero: not known.
type Firmware struct {
	LoaderStartMs int64 `json:"loaderStartMs"` // from power-on to systemd-boot
	LoaderExecMs  int64 `json:"loaderExecMs"`  // from power-on to the UKI
}

// Step is one boot step that ended.
type Step struct {
	Stage  int    `json:"stage"` // 1: initrd, 2: verified root
	Name   string `json:"name"`
	AtMs   int64  `json:"atMs"` // when it ended
	TookMs int64  `json:"tookMs"`
	Detail string `json:"detail,omitempty"`
}

// Service is one supervised service.
type Service struct {
	Name     string   `json:"name"`
	Type     string   `json:"type,omitempty"` // notify, simple, oneshot
	State    string   `json:"state"`
	SinceMs  int64    `json:"sinceMs,omitempty"` // when it came to that state
	Reason   string   `json:"reason,omitempty"`
	Status   string   `json:"status,omitempty"` // what it says of itself (STATUS=)
	PID      int      `json:"pid,omitempty"`
	ReadyMs  int64    `json:"readyMs,omitempty"` // when it was last ready
	Restarts int      `json:"restarts"`
	LastExit string   `json:"lastExit,omitempty"` // how its main process ended last
	Critical bool     `json:"critical,omitempty"` // the machine restarts when it has failed
	Requires []string `json:"requires,omitempty"`

	DroppedLogBytes int64 `json:"droppedLogBytes,omitempty"` // output that never reached a file
}

// Posture is what the host claims about its own integrity, each claim read
// from the running kernel or firmware.
type Posture struct {
	SecureBoot bool     `json:"secureBoot"`
	Lockdown   string   `json:"lockdown"`         // none, integrity, confidentiality
	VerityRoot string   `json:"verityRoot"`       // root hash of the device under /
	TPM        string   `json:"tpm"`              // "2.0", or empty
	Modules    bool     `json:"modules"`          // the kernel can load modules
	State      string   `json:"state"`            // ext4, tmpfs (degraded)
	Misses     []string `json:"misses,omitempty"` // claims that do not hold
}

// Fault is something wrong that the node survived.
type Fault struct {
	Source string `json:"source"` // boot step or service
	Text   string `json:"text"`
}

// Memory is a reading of the node's memory in KiB, and of what PID 1 keeps.
type Memory struct {
	TotalKiB       int64 `json:"totalKiB"`
	AvailableKiB   int64 `json:"availableKiB"`
	InitRSSKiB     int64 `json:"initRSSKiB"`
	InitGoroutines int   `json:"initGoroutines"`
}
