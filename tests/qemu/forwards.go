package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
)

// forwards asks QEMU which host ports it listens on. Letting QEMU choose them
// is what makes them free: a port that we chose could be taken before it binds.
func (vm *VM) forwards(ctx context.Context) (map[int]int, error) {
	if vm.cfg.NoNIC || len(vm.cfg.Forwards) == 0 {
		return nil, nil
	}
	answer, err := vm.qmp.do(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"})
	if err != nil {
		return nil, err
	}
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return nil, fmt.Errorf("read forwards: %w", err)
	}
	ports := hostPorts(text)
	for _, f := range vm.cfg.Forwards {
		if ports[f.Guest] == 0 {
			return nil, fmt.Errorf("read forwards: none for guest port %d in %q", f.Guest, text)
		}
	}
	return ports, nil
}

var hostForward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)`)

// hostPorts finds the host's port of each guest port in QEMU's "info usernet".
func hostPorts(usernet string) map[int]int {
	ports := map[int]int{}
	for _, m := range hostForward.FindAllStringSubmatch(usernet, -1) {
		host, _ := strconv.Atoi(m[1])  // digits only: cannot fail but by overflow,
		guest, _ := strconv.Atoi(m[2]) // which the caller sees as a missing forward
		ports[guest] = host
	}
	return ports
}
