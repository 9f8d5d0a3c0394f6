package main

import (
	"fmt"
	"strings"

	"holdfast/hack/node"
	"holdfast/init/status"
)

// width is the summary's, in columns.
const width = 80

// render is what is told about a node that came up.
func render(s node.Up) string {
	var b strings.Builder
	title := "Holdfast " + s.Report.Version + " is up"
	fmt.Fprintf(&b, "%s%*s\n", title, max(1, width-len(title)), s.URL)
	b.WriteString("\nBoot, in seconds since the kernel's start     from       to     took\n")
	for _, m := range timeline(s) {
		fmt.Fprintf(&b, "  %-38s%s%s%s\n", m.name, seconds(10, m.fromMs), seconds(9, m.toMs), seconds(9, m.tookMs()))
	}
	section(&b, "Posture", posture(s.Report.Posture))
	m := s.Report.Memory
	section(&b, "Memory", [][2]string{
		{"available", fmt.Sprintf("%d of %d MiB", m.AvailableKiB>>10, m.TotalKiB>>10)},
		{"PID 1", fmt.Sprintf("%.1f MiB", float64(m.InitRSSKiB)/1024)},
	})
	section(&b, "Faults", faults(s.Report))
	return b.String()
}

// section writes a heading and its lines; a value that is too long is wrapped.
func section(b *strings.Builder, heading string, lines [][2]string) {
	fmt.Fprintf(b, "\n%s\n", heading)
	for _, l := range lines {
		for i, part := range wrap(l[1], width-15) {
			name := l[0]
			if i > 0 {
				name = ""
			}
			b.WriteString(strings.TrimRight(fmt.Sprintf("  %-13s%s", name, part), " ") + "\n")
		}
	}
}

// moment is one span of the boot; unknown times are negative.
type moment struct {
	name         string
	fromMs, toMs int64
	beforeKernel int64 // how long it took, when it ended before the kernel's clock began
}

func (m moment) tookMs() int64 {
	switch {
	case m.beforeKernel > 0:
		return m.beforeKernel
	case m.fromMs < 0 || m.toMs < 0:
		return -1
	}
	return m.toMs - m.fromMs
}

// timeline lays the boot out in order. A stage reaches from the end of the one
// before to its own last step; a service from its stage to its readiness.
func timeline(s node.Up) []moment {
	r := s.Report
	moments := []moment{
		{"firmware", -1, -1, r.Firmware.LoaderStartMs},
		{"boot loader", -1, -1, r.Firmware.LoaderExecMs - r.Firmware.LoaderStartMs},
	}
	kernel, stage1, stage2 := int64(-1), int64(-1), int64(-1)
	for _, step := range r.Steps {
		switch {
		case step.Stage == 1 && kernel < 0:
			kernel, stage1 = step.AtMs-step.TookMs, step.AtMs
		case step.Stage == 1:
			stage1 = step.AtMs
		case step.Stage == 2:
			stage2 = step.AtMs
		}
	}
	moments = append(moments,
		moment{"kernel", 0, kernel, 0}, moment{"stage 1, in the initrd", kernel, stage1, 0},
		moment{"stage 2, on the verified root", stage1, stage2, 0})
	for _, name := range []string{"containerd", "kubelet"} {
		moments = append(moments, moment{name + " ready", stage2, readyMs(r, name), 0})
	}
	return append(moments, moment{"pod serving", stage2, s.PodMs, 0})
}

func readyMs(r status.Report, name string) int64 {
	for _, s := range r.Services {
		if s.Name == name && s.ReadyMs > 0 {
			return s.ReadyMs
		}
	}
	return -1
}

func seconds(width int, ms int64) string {
	if ms < 0 {
		return fmt.Sprintf("%*s", width, "-")
	}
	return fmt.Sprintf("%*.2f", width, float64(ms)/1000)
}

func posture(p status.Posture) [][2]string {
	lines := [][2]string{
		{"Secure Boot", choose(p.SecureBoot, "on", "OFF")},
		{"lockdown", p.Lockdown},
		{"verity root", choose(p.VerityRoot != "", p.VerityRoot, "NONE")},
		{"TPM", choose(p.TPM != "", p.TPM, "NONE")},
		{"modules", choose(p.Modules, "CAN BE LOADED", "cannot be loaded")},
		{"state", p.State},
	}
	for _, miss := range p.Misses {
		lines = append(lines, [2]string{"MISS", miss})
	}
	return lines
}

func choose(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

func faults(r status.Report) (lines [][2]string) {
	for _, f := range r.Faults {
		lines = append(lines, [2]string{f.Source, f.Text})
	}
	for _, s := range r.Services {
		if s.Restarts > 0 {
			lines = append(lines, [2]string{s.Name, fmt.Sprintf("restarted %d times", s.Restarts)})
		}
	}
	if lines == nil {
		lines = [][2]string{{"none", ""}}
	}
	return lines
}

// wrap breaks text between words into lines of at most n bytes. A word that is
// longer stands alone.
func wrap(text string, n int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= n:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
