// Command guest is PID 1 of the machine in which package clock tests timed.
//
// It plays the NTP servers, runs timed as a child with the rights that PID 1
// gives it, and judges what becomes of the machine's clock. Each check is a
// line on the console, "ok: …" or "FAIL: …", and the last one is "done".
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"holdfast/kernel/power"
	"holdfast/services/timed"
)

func main() {
	if len(os.Args) > 1 { // the child
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := timed.Run(ctx)
		stop()
		if err != nil {
			fmt.Println("timed:", err)
			os.Exit(1)
		}
		return
	}
	g := &guest{}
	if err := g.run(); err != nil {
		fmt.Println("FAIL:", err)
	}
	fmt.Println("done")
	fmt.Println(power.Do(power.Off))
}

// checks are carried out in order; each goes on from the last one's clock.
var checks = []struct {
	name string
	do   func(*guest) error
}{
	{"machine's clock is in the past", (*guest).isPast},
	{"raise to the build time", (*guest).raise},
	{"first synchronisation steps", (*guest).first},
	{"rights and size of timed", (*guest).rights},
	{"small offset is slewed", (*guest).slew},
	{"jump is stepped after four rounds", (*guest).jump},
	{"liar and silence leave the clock", (*guest).outvoted},
	{"stop keeps the time", (*guest).stop},
	{"restart does not step", (*guest).restart},
	{"loop learns the frequency", (*guest).learn},
}

func (g *guest) run() error {
	if err := g.prepare(); err != nil {
		return err
	}
	for _, c := range checks {
		began := time.Now()
		if err := c.do(g); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("ok: %s (%s)%s\n", c.name, time.Since(began).Round(time.Millisecond), g.note)
		g.note = ""
	}
	return nil
}
