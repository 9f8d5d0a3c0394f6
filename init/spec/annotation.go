package spec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const prefix = "holdfast."

// annotations are the supervision settings, their defaults and what reads them.
var annotations = []struct {
	key, preset string
	read        func(*Service, string) error
}{
	{"requires", "", func(s *Service, v string) error { s.Requires = fields(v); return nil }},
	{"type", "simple", func(s *Service, v string) error { return choose(&s.Type, v, Notify, Simple, Oneshot) }},
	{"restart", "always", func(s *Service, v string) error { return choose(&s.Restart, v, Always, OnFailure, Never) }},
	{"restart-limit", "5/1m", func(s *Service, v string) error { return s.Limit.read(v) }},
	{"stop", "all", func(s *Service, v string) error { return choose(&s.Stop, v, StopMain, StopAll) }},
	{"backoff", "100ms", func(s *Service, v string) error {
		if v == "0s" {
			return nil
		}
		return duration(&s.Backoff, v)
	}},
	{"timeout-start", "90s", func(s *Service, v string) error { return duration(&s.TimeoutStart, v) }},
	{"timeout-stop", "30s", func(s *Service, v string) error { return duration(&s.TimeoutStop, v) }},
	{"watchdog", "off", func(s *Service, v string) error {
		if v == "off" {
			return nil
		}
		return duration(&s.Watchdog, v)
	}},
	{"signal-shutdown", "SIGTERM", func(s *Service, v string) error { return choose(&s.SignalShutdown, v, "SIGTERM", "SIGUSR1", "SIGUSR2") }},
	{"drain", "", func(s *Service, v string) error { s.Drain = v; return nil }},
	{"directories", "", func(s *Service, v string) error { s.Directories = fields(v); return directories(s.Directories) }},
	{"early", "false", func(s *Service, v string) (err error) { s.Early, err = strconv.ParseBool(v); return err }},
	{"critical", "false", func(s *Service, v string) (err error) { s.Critical, err = strconv.ParseBool(v); return err }},
}

func (s *Service) annotate() error {
	known := make(map[string]bool, len(annotations))
	for _, a := range annotations {
		key := prefix + a.key
		known[key] = true
		v, ok := s.OCI.Annotations[key]
		if !ok {
			v = a.preset
		}
		if err := a.read(s, v); err != nil {
			return fmt.Errorf("annotation %s: %w", key, err)
		}
	}
	for key := range s.OCI.Annotations {
		if !known[key] {
			return fmt.Errorf("annotation %s is not known", key)
		}
	}
	return nil
}

func fields(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
}

func choose[T ~string](to *T, v string, allowed ...T) error {
	if !slices.Contains(allowed, T(v)) {
		return fmt.Errorf("%q, want one of %v", v, allowed)
	}
	*to = T(v)
	return nil
}

// runtimeDir is where services may have directories made.
const runtimeDir = "/run/holdfast/"

func directories(list []string) error {
	for _, dir := range list {
		if !strings.HasPrefix(dir, runtimeDir) || filepath.Clean(dir) != dir {
			return fmt.Errorf("%q, want clean paths below %s", dir, runtimeDir)
		}
	}
	return nil
}

func duration(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 || d > 24*time.Hour {
		return fmt.Errorf("%q, want a duration above 0 and up to 24h", v)
	}
	*to = d
	return nil
}

func (l *Limit) read(v string) error {
	n, per, ok := strings.Cut(v, "/")
	count, err := strconv.Atoi(n)
	if !ok || err != nil || count < 1 || count > 1000 {
		return fmt.Errorf("%q, want N/duration with N from 1 to 1000", v)
	}
	l.Restarts = count
	return duration(&l.Per, per)
}
