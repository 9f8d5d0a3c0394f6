package netd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// client speaks DHCP on one interface.
type client struct {
	index int
	name  string
	mac   net.HardwareAddr
}

// errSilent: nobody answered in time.
var errSilent = errors.New("no answer")

// How long each transmission of a message waits for its answer.
var (
	patient = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	brief   = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}
)

// wanted are the options that we read.
var wanted = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute,
	dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionNTPServers,
}

// exchange carries out discover, reboot, renew or rebind and returns the
// server's ACK or NAK.
func (c client) exchange(ctx context.Context, do action, l *Lease) (*dhcpv4.DHCPv4, error) {
	w, err := c.open(do, l)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer w.Close()
	// A read that is under way ends when the socket is closed.
	defer context.AfterFunc(ctx, func() { w.Close() })()
	if do != discover {
		return c.request(ctx, w, do, l)
	}
	ask, err := dhcpv4.New(c.message(dhcpv4.MessageTypeDiscover)...)
	if err != nil {
		return nil, err
	}
	offer, err := c.converse(ctx, w, ask, patient, usable)
	if err != nil {
		return nil, err
	}
	take, err := dhcpv4.New(append(c.message(dhcpv4.MessageTypeRequest),
		dhcpv4.WithTransactionID(offer.TransactionID),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))...)
	if err != nil {
		return nil, err
	}
	return c.converse(ctx, w, take, brief, final(offer.ServerIdentifier()))
}

// request asks for an address that we have or had.
func (c client) request(ctx context.Context, w wire, do action, l *Lease) (*dhcpv4.DHCPv4, error) {
	address := net.IP(l.Address.Addr().AsSlice())
	holding := dhcpv4.WithClientIP(address)
	if do == reboot {
		holding = dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(address))
	}
	ask, err := dhcpv4.New(append(c.message(dhcpv4.MessageTypeRequest), holding)...)
	if err != nil {
		return nil, err
	}
	return c.converse(ctx, w, ask, brief, final(nil))
}

// message is what every message has.
func (c client) message(t dhcpv4.MessageType) []dhcpv4.Modifier {
	m := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(c.mac),
		dhcpv4.WithMessageType(t),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(maxMessage)),
		dhcpv4.WithRequestedOptions(wanted...),
	}
	if name, err := os.Hostname(); err == nil && isDomain(name) {
		m = append(m, dhcpv4.WithOption(dhcpv4.OptHostName(name)))
	}
	return m
}

// usable accepts an offer that can be taken.
func usable(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeOffer && m.ServerIdentifier() != nil && !m.YourIPAddr.IsUnspecified()
}

// final accepts an ACK or NAK, of one server or of any.
func final(server net.IP) func(*dhcpv4.DHCPv4) bool {
	return func(m *dhcpv4.DHCPv4) bool {
		t := m.MessageType()
		return (t == dhcpv4.MessageTypeAck || t == dhcpv4.MessageTypeNak) && (server == nil || server.Equal(m.ServerIdentifier()))
	}
}

// converse sends a message, again after each pause, until an answer fits.
func (c client) converse(ctx context.Context, w wire, ask *dhcpv4.DHCPv4, pauses []time.Duration, fits func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error) {
	for _, pause := range pauses {
		if err := w.send(ask.ToBytes()); err != nil {
			return nil, errors.Join(ctx.Err(), fmt.Errorf("send: %w", err))
		}
		for end := time.Now().Add(pause); ; {
			b, err := w.receive(end)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				return nil, errors.Join(ctx.Err(), fmt.Errorf("receive: %w", err))
			}
			if m := c.answer(b, ask); m != nil && fits(m) {
				return m, nil
			}
		}
	}
	return nil, errSilent
}

// answer reads an answer to ask; nil if it is not one.
func (c client) answer(b []byte, ask *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.FromBytes(b)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply || m.TransactionID != ask.TransactionID || !bytes.Equal(m.ClientHWAddr, c.mac) {
		return nil
	}
	return m
}

// maxMessage is how long an answer may be, in bytes.
const maxMessage = 1500

// wire carries messages: a packet socket to all servers while there may be no
// address, a UDP socket to one server afterwards.
type wire interface {
	send([]byte) error
	receive(deadline time.Time) ([]byte, error) // nil: a packet that is none of ours
	Close() error
}

func (c client) open(do action, l *Lease) (wire, error) {
	switch do {
	case renew:
		return openUDP(c.name, l.Address.Addr(), l.Server)
	case rebind:
		return openPacket(c.index, l.Address.Addr())
	}
	return openPacket(c.index, netip.IPv4Unspecified())
}

type packetWire struct {
	file *os.File
	from netip.Addr
	to   unix.SockaddrLinklayer
}

func openPacket(index int, from netip.Addr) (*packetWire, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	w := &packetWire{
		file: os.NewFile(uintptr(fd), "packet socket"),
		from: from,
		to:   unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index, Halen: 6},
	}
	for i := range w.to.Halen {
		w.to.Addr[i] = 0xff
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &slices.Clone(filter)[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: w.to.Protocol, Ifindex: index})
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 } // every machine that we run on is little endian

func (w *packetWire) send(message []byte) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), datagram(w.from, message), 0, &w.to)
		return sent != unix.EAGAIN
	})
	return errors.Join(err, sent)
}

func (w *packetWire) receive(deadline time.Time) ([]byte, error) {
	if err := w.file.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	b := make([]byte, ipHeader+udpHeader+maxMessage)
	n, err := w.file.Read(b)
	if err != nil {
		return nil, err
	}
	return payload(b[:n]), nil
}

func (w *packetWire) Close() error { return w.file.Close() }

type udpWire struct {
	*net.UDPConn
	server netip.AddrPort
}

func openUDP(name string, from, server netip.Addr) (*udpWire, error) {
	l := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var bound error
		err := raw.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), name) })
		return errors.Join(err, bound)
	}}
	c, err := l.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(from, clientPort).String())
	if err != nil {
		return nil, err
	}
	return &udpWire{c.(*net.UDPConn), netip.AddrPortFrom(server, serverPort)}, nil
}

func (w *udpWire) send(message []byte) error {
	_, err := w.WriteToUDPAddrPort(message, w.server)
	return err
}

func (w *udpWire) receive(deadline time.Time) ([]byte, error) {
	if err := w.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	b := make([]byte, maxMessage)
	n, from, err := w.ReadFromUDPAddrPort(b)
	if err != nil || from.Addr() != w.server.Addr() {
		return nil, err
	}
	return b[:n], nil
}
