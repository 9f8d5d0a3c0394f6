package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"holdfast/hack/components/kubelet/logind"
)

// runDir holds what lives until the next boot.
const runDir = "/run/kubelet"

// podsLimit is above the shutdownGracePeriod of kubelet's configuration and
// below the stop deadline of its service.
const podsLimit = 35 * time.Second

// announceShutdown lets kubelet find a logind, and makes SIGUSR1 the
// announcement of a shutdown: once the pods have ended, or the limit is
// reached, kubelet itself ends as by SIGTERM.
func announceShutdown() error {
	socket := filepath.Join(runDir, "logind.sock")
	server, err := logind.Listen(socket)
	if err != nil {
		return err
	}
	if err := os.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket); err != nil {
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		<-asked
		ctx, cancel := context.WithTimeout(context.Background(), podsLimit)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "kubelet: shut pods down:", err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			os.Exit(1)
		}
	}()
	return nil
}
