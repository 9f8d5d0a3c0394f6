package apid

import (
	"io"
	"net"
	"net/netip"
	"sync"
)

// limitListener refuses connections beyond the limits at once: one that waited
// would hold memory, too.
func limitListener(l net.Listener) net.Listener {
	return &limited{Listener: l, from: map[netip.Addr]int{}}
}

type limited struct {
	net.Listener

	mu   sync.Mutex
	all  int
	from map[netip.Addr]int
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if free, ok := l.take(c.RemoteAddr()); ok {
			return &counted{Conn: c, free: free}, nil
		}
		c.Close()
	}
}

func (l *limited) take(a net.Addr) (free func(), ok bool) {
	var from netip.Addr
	if t, ok := a.(*net.TCPAddr); ok {
		from = t.AddrPort().Addr().Unmap()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConnections || l.from[from] >= maxPerAddress {
		return nil, false
	}
	l.all++
	l.from[from]++
	return sync.OnceFunc(func() { l.give(from) }), true
}

func (l *limited) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.from[from]--; l.from[from] == 0 {
		delete(l.from, from)
	}
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	free func()
}

func (c *counted) Close() error {
	c.free()
	return c.Conn.Close()
}

// readAll reads what a client announced in one piece of memory.
func readAll(r io.Reader, announced int64) ([]byte, error) {
	if announced <= 0 {
		return io.ReadAll(r)
	}
	data := make([]byte, announced)
	n, err := io.ReadFull(r, data)
	return data[:n], err
}
