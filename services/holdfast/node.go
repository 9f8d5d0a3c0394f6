package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/services/api"
	"holdfast/services/api/client"

	"github.com/spf13/cobra"
)

// nodeCommands are the commands that speak to nodes.
func (p *program) nodeCommands() []*cobra.Command {
	return []*cobra.Command{
		nodeCommand(p, "status", "Show a node on one screen", api.GetStatus, false, statusTable),
		nodeCommand(p, "posture", "Show what nodes claim about their integrity", api.GetPosture, false, postureTable),
		nodeCommand(p, "boot", "Show when each step of the boot ended", api.GetBoot, false, bootTable),
		nodeCommand(p, "reboot", "End all services and restart nodes", api.Reboot, true, acceptedTable("restarts")),
		nodeCommand(p, "poweroff", "End all services and switch nodes off", api.PowerOff, true, acceptedTable("switches off")),
		p.servicesCommand(), p.logsCommand(), p.eventsCommand(),
	}
}

// head begins a node's part of a table where there are several.
func head(t *table, several bool, node string) {
	if several {
		t.row("== " + node)
	}
}

func statusTable(t *table, several bool, node string, s *api.Status) {
	head(t, several, node)
	t.row("node", s.Node)
	t.row("version", s.Version)
	t.row("phase", string(s.Phase))
	t.row("up", uptime(s.UptimeMs))
	t.row("memory", fmt.Sprintf("%s of %s available", size(s.Memory.AvailableKiB<<10), size(s.Memory.TotalKiB<<10)))
	t.row("posture", verdictOf(s.Posture))
	for _, f := range s.Faults {
		t.row("fault", f.Source+": "+printable(f.Text))
	}
	t.row(" ")
	serviceRows(t, s.Services)
}

func verdictOf(p status.Posture) string {
	if len(p.Misses) == 0 {
		return "as claimed"
	}
	return printable(strings.Join(p.Misses, "; "))
}

func serviceRows(t *table, all []control.Service) {
	t.row("SERVICE", "STATE", "PID", "RESTARTS", "MEMORY", "REASON")
	for _, s := range all {
		pid, memory := "", ""
		if s.PID != 0 {
			pid = strconv.Itoa(s.PID)
		}
		if s.MemoryBytes != 0 {
			memory = size(s.MemoryBytes)
		}
		t.row(s.Name, s.State, pid, strconv.Itoa(s.Restarts), memory, printable(s.Reason))
	}
}

func postureTable(t *table, several bool, node string, p *status.Posture) {
	head(t, several, node)
	t.row("secure boot", strconv.FormatBool(p.SecureBoot))
	t.row("lockdown", p.Lockdown)
	t.row("root hash", p.VerityRoot)
	t.row("TPM", p.TPM)
	t.row("modules", strconv.FormatBool(p.Modules))
	t.row("state", p.State)
	for _, m := range p.Misses {
		t.row("miss", printable(m))
	}
}

func bootTable(t *table, several bool, node string, b *api.Boot) {
	head(t, several, node)
	t.row("STAGE", "STEP", "AT", "TOOK", "DETAIL")
	for _, s := range b.Steps {
		t.row(strconv.Itoa(s.Stage), s.Name, fmt.Sprintf("%.3f s", float64(s.AtMs)/1e3), fmt.Sprintf("%d ms", s.TookMs), printable(s.Detail))
	}
}

func acceptedTable(what string) func(*table, bool, string, *api.Accepted) {
	return func(t *table, _ bool, node string, _ *api.Accepted) { t.row(node + " " + what) }
}

func (p *program) servicesCommand() *cobra.Command {
	c := &cobra.Command{Use: "services", Short: "Show and control services"}
	c.AddCommand(
		nodeCommand(p, "list", "List services", api.ListServices, false, func(t *table, several bool, node string, s *api.Services) {
			head(t, several, node)
			serviceRows(t, s.Services)
		}),
		p.orderCommand("start", "Start a service, and all that it requires", api.StartService),
		p.orderCommand("stop", "Stop a service, after all that requires it", api.StopService),
		p.orderCommand("restart", "Stop a service and start it again", api.RestartService),
	)
	return c
}

func (p *program) orderCommand(name, short, call string) *cobra.Command {
	var hurry bool
	c := &cobra.Command{
		Use: name + " NAME", Short: short, Args: words(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			targets, err := p.targets(true)
			if err != nil {
				return err
			}
			results := ask[control.Service](c.Context(), targets, call, client.Args{Name: args[0], Query: values("wait", strconv.FormatBool(!hurry))})
			return present(p, results, func(t *table, several bool, node string, s *control.Service) {
				head(t, several, node)
				serviceRows(t, []control.Service{*s})
			})
		},
	}
	c.Flags().BoolVar(&hurry, "no-wait", false, "do not wait until the service is ready or has stopped")
	return c
}

func (p *program) logsCommand() *cobra.Command {
	var tail int
	var since time.Duration
	var going, previous, times bool
	c := &cobra.Command{
		Use: "logs SERVICE", Short: "Show what a service printed", Args: words(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			q := values("follow", strconv.FormatBool(going), "previous", strconv.FormatBool(previous), "lines", strconv.Itoa(tail))
			if since > 0 {
				q.Set("since", p.now().Add(-since).UTC().Format(time.RFC3339Nano))
			}
			return follow(p, c, api.ReadLogs, client.Args{Name: args[0], Query: q}, func() func(api.Line) string {
				inside := false
				return func(l api.Line) string {
					text := logLine(l, times && !inside)
					inside = l.Kind == control.LinePiece
					return text
				}
			})
		},
	}
	f := c.Flags()
	f.IntVar(&tail, "lines", 0, "the newest lines only (default all)")
	f.DurationVar(&since, "since", 0, "only lines of that long ago, such as 10m")
	f.BoolVarP(&going, "follow", "f", false, "go on until interrupted")
	f.BoolVarP(&previous, "previous", "p", false, "of the last boot before this one that has any")
	f.BoolVarP(&times, "times", "t", false, "begin each line with its time")
	return c
}

func logLine(l api.Line, times bool) string {
	text := l.Text
	if l.Bytes != nil {
		text = string(l.Bytes)
	}
	text = printable(text)
	if l.Kind == control.LineMark {
		text = "[" + text + "]"
	}
	if times && l.Time != nil {
		text = l.Time.Format("2006-01-02T15:04:05.000Z ") + text
	}
	if l.Kind != control.LinePiece {
		text += "\n"
	}
	return text
}

func (p *program) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "events", Short: "Show services' states, and what happens from now on", Args: words(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			return follow(p, c, api.WatchEvents, client.Args{}, func() func(control.Event) string { return eventLine })
		},
	}
}

func eventLine(e control.Event) string {
	text := fmt.Sprintf("%10.3f  %-6s %-16s %s", float64(e.AtMs)/1e3, e.Kind, e.Service, e.State)
	for _, more := range []string{e.Reason, e.Text} {
		if more != "" {
			text += "  " + printable(more)
		}
	}
	if e.Lost > 0 {
		text += fmt.Sprintf("  %d events are missing here", e.Lost)
	}
	return strings.TrimRight(text, " ") + "\n"
}

// printable shows control characters as codes: they would reach the terminal,
// and what is shown comes from services.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\t' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x%02x`, r)
		}
	}
	return b.String()
}

func size(bytes int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", bytes)
}

func uptime(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.Round(time.Second).String()
}
