package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const notifySocket = "NOTIFY_SOCKET"

// say sends a message of sd_notify(3), with files if there are any.
func say(message string, files ...int) error {
	return sayTo(os.Getenv(notifySocket), message, files...)
}

func sayTo(socket, message string, files ...int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	if err := unix.Sendmsg(fd, []byte(message), oob, &unix.SockaddrUnix{Name: socket}, 0); err != nil {
		return fmt.Errorf("notify %s: %w", socket, err)
	}
	return nil
}

// impostor tells PID 1, on the socket of another service, that this is ready.
func impostor(args []string) error {
	socket := filepath.Join(filepath.Dir(os.Getenv(notifySocket)), args[0])
	if err := sayTo(socket, "READY=1\nSTATUS=not me"); err != nil {
		return err
	}
	return serve(nil)
}

// barrier becomes ready and waits until PID 1 has taken all that was said.
func barrier([]string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if err := say("READY=1"); err != nil {
		return err
	}
	if err := say("BARRIER=1", int(w.Fd())); err != nil {
		return err
	}
	w.Close()
	if n, _ := r.Read(make([]byte, 1)); n != 0 { // what ends the wait is that PID 1 closes its end
		return fmt.Errorf("%d bytes came through the barrier", n)
	}
	if err := note("passed"); err != nil {
		return err
	}
	return rest(terminated())
}
