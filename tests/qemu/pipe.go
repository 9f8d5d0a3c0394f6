package qemu

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// pipeCommand as first argument makes a program that links this package copy
// its standard streams to and from a TCP address, then exit.
const pipeCommand = "holdfast-qemu-pipe"

// QEMU forwards a guest's connections to the host either over one connection
// made at the start, or by running a command for each. That command is this
// program itself, so that nothing needs to be installed or built for it.
func init() {
	if len(os.Args) != 3 || os.Args[1] != pipeCommand {
		return
	}
	if err := pipe(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
		os.Stderr.WriteString("forward: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// pipe copies in to the address and the address to out until either ends.
func pipe(ctx context.Context, addr string, in io.Reader, out io.Writer) error {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, conn)
		done <- err
	}()
	_, err = io.Copy(conn, in) // ends when the guest closes its side
	if half, ok := conn.(*net.TCPConn); ok {
		err = errors.Join(err, half.CloseWrite())
	}
	select {
	case e := <-done:
		return errors.Join(err, e)
	case <-time.After(time.Minute):
		return errors.Join(err, errors.New("the host did not close within a minute"))
	}
}
