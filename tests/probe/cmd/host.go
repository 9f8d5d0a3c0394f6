package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/tests/probe"
)

// host carries out operations one after the other on a thread that is in the
// host's mount namespace.
type host struct {
	work chan func()
}

// enter starts the thread. setns(2) into a mount namespace needs a thread that
// shares its root and working directory with no other, hence CLONE_FS; the
// thread is never unlocked, so that no other goroutine runs on it.
func enter(namespace string) (*host, error) {
	fd, err := os.Open(namespace)
	if err != nil {
		return nil, fmt.Errorf("open mount namespace: %w", err)
	}
	defer fd.Close()
	h := &host{work: make(chan func())}
	entered := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNS)
		}
		entered <- err
		for f := range h.work {
			f()
		}
	}()
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("enter mount namespace %s: %w", namespace, err)
	}
	return h, nil
}

// ServeHTTP carries out the operation that the path names.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, ok := operations[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var out any
	var err error
	done := make(chan struct{})
	h.work <- func() {
		defer close(done)
		out, err = op(r.Form)
	}
	<-done
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		out = failure(err)
	}
	json.NewEncoder(w).Encode(out) // an error here is the client's to see
}

func failure(err error) probe.Failure {
	var errno syscall.Errno
	errors.As(err, &errno)
	return probe.Failure{Errno: errno, Text: err.Error()}
}

// operations are what the program offers, by path.
var operations = map[string]func(url.Values) (any, error){
	"/file":     file,
	"/write":    write,
	"/remove":   remove,
	"/list":     list,
	"/readlink": readlink,
	"/stat":     stat,
	"/statfs":   statfs,
	"/mount":    mountOp,
	"/unmount":  unmount,
	"/kill":     kill,
	"/ps":       processes,
	"/dmtable":  dmTable,
	"/eat":      eat,
	"/control":  controlOp,
	"/telltime": tellTime,
}
