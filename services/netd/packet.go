package netd

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Ports of DHCP (RFC 2131, 4.1).
const (
	serverPort = 67
	clientPort = 68
)

const (
	ipHeader  = 20
	udpHeader = 8
	protoUDP  = 17
)

// datagram is an IPv4 packet (RFC 791) that broadcasts a UDP payload (RFC 768)
// from the client's port to the servers'.
func datagram(from netip.Addr, payload []byte) []byte {
	b := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(payload))
	b = append(b, payload...)
	be := binary.BigEndian
	b[0] = 4<<4 | ipHeader/4
	be.PutUint16(b[2:], uint16(len(b)))
	b[8], b[9] = 64, protoUDP
	src := from.As4()
	copy(b[12:], src[:])
	copy(b[16:], []byte{255, 255, 255, 255})
	be.PutUint16(b[10:], ^sum(b[:ipHeader], 0))

	udp := b[ipHeader:]
	be.PutUint16(udp, clientPort)
	be.PutUint16(udp[2:], serverPort)
	be.PutUint16(udp[4:], uint16(len(udp)))
	check := ^sum(udp, sum(b[12:20], protoUDP+uint16(len(udp))))
	if check == 0 {
		check = 0xffff // 0 would say that there is none
	}
	be.PutUint16(udp[6:], check)
	return b
}

// sum adds 16-bit words in one's complement (RFC 1071).
func sum(b []byte, start uint16) uint16 {
	s := uint32(start)
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// payload is the UDP payload of an IPv4 packet to the client's port, or nil.
// The UDP checksum is not looked at: between virtual machines on one host it is
// often not filled in. The transaction id and the hardware address tell.
func payload(b []byte) []byte {
	if len(b) < ipHeader || b[0]>>4 != 4 || b[9] != protoUDP {
		return nil
	}
	be := binary.BigEndian
	header, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	fragment := be.Uint16(b[6:]) & 0x3fff // more to come, or not the first
	if header < ipHeader || total > len(b) || total < header+udpHeader || fragment != 0 {
		return nil
	}
	udp := b[header:total]
	length := int(be.Uint16(udp[4:]))
	if be.Uint16(udp[2:]) != clientPort || length < udpHeader || length > len(udp) {
		return nil
	}
	return udp[udpHeader:length]
}

// filter lets only such packets wake us up: classic BPF on the IP header.
var filter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},                  // protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protoUDP, Jf: 6},   // UDP, or drop
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},                  // fragment
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4},    // the first, or drop
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},                 // X = header length
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},                  // destination port
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jf: 1}, // ours, or drop
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},                           // keep
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},                                // drop
}
