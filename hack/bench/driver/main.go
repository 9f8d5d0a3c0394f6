// Command driver runs inside a measured guest: it asks PID 1 for starts and stops, times them, reports, and ends the machine.
//
// The machine's service manager starts it. It writes one sample.Guest to the
// virtio-serial port sample.Port, whatever happened, and powers off.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/hack/bench/sample"
	"holdfast/kernel/power"
)

func main() {
	var o options
	flag.StringVar(&o.manager, "manager", "", "who is PID 1: holdfast or systemd")
	flag.IntVar(&o.services, "services", 0, "how many services there are, each running")
	flag.DurationVar(&o.idle, "idle", 0, "how long to watch PID 1 do nothing")
	flag.IntVar(&o.rounds, "rounds", 0, "how often to start and stop all services; 0: never, and none is restarted")
	flag.Parse()
	g, err := measure(o)
	if err != nil {
		g.Error = err.Error()
	}
	if err := deliver(g); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
	}
	power.Sync(time.Second)
	fmt.Fprintln(os.Stderr, "driver: power off:", power.Do(power.Off))
	os.Exit(1)
}

// deliver writes the samples to the host.
func deliver(g sample.Guest) error {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return err
	}
	for _, file := range names {
		if b, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(b)) != sample.Port {
			continue
		}
		data, err := json.Marshal(g)
		if err != nil {
			return err
		}
		return os.WriteFile("/dev/"+filepath.Base(filepath.Dir(file)), append(data, '\n'), 0)
	}
	return fmt.Errorf("no port %s among %v", sample.Port, names)
}
