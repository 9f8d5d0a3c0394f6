// Package ntp is the packet of the Network Time Protocol, version 4 (RFC 5905, 7.3).
//
// Big endian:
//
//	offset  bytes  field
//	     0      1  leap indicator (2 bits), version (3), mode (3)
//	     1      1  stratum; 0 in an answer: a kiss, its code in the reference id
//	     2      1  poll interval, log2 s
//	     3      1  precision, log2 s
//	     4      4  root delay, 16.16 s
//	     8      4  root dispersion, 16.16 s
//	    12      4  reference id
//	    16      8  reference time: when the server's clock was last corrected
//	    24      8  origin time: the client's transmit time, sent back
//	    32      8  receive time: when the request came
//	    40      8  transmit time: when the answer left
//
// Extension fields and authentication may follow; nothing here reads them.
package ntp

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

const (
	Size    = 48
	Version = 4
	Port    = 123
)

// Modes of a packet.
const (
	Client = 3
	Server = 4
)

// Leap indicators: what happens at the end of the day.
const (
	LeapNone    = 0
	LeapInsert  = 1
	LeapDelete  = 2
	LeapUnknown = 3 // the server's clock is not synchronised
)

// Packet is one packet.
type Packet struct {
	Leap, Version, Mode uint8
	Stratum             uint8
	Poll, Precision     int8
	RootDelay           Short
	RootDispersion      Short
	ReferenceID         [4]byte
	Reference           Timestamp
	Origin              Timestamp
	Receive             Timestamp
	Transmit            Timestamp
}

// Parse reads the fixed part of a packet.
func Parse(b []byte) (Packet, error) {
	if len(b) < Size {
		return Packet{}, fmt.Errorf("packet has %d bytes, want at least %d", len(b), Size)
	}
	stamp := func(at int) Timestamp { return Timestamp(binary.BigEndian.Uint64(b[at:])) }
	return Packet{
		Leap: b[0] >> 6, Version: b[0] >> 3 & 7, Mode: b[0] & 7,
		Stratum: b[1], Poll: int8(b[2]), Precision: int8(b[3]),
		RootDelay:      Short(binary.BigEndian.Uint32(b[4:])),
		RootDispersion: Short(binary.BigEndian.Uint32(b[8:])),
		ReferenceID:    [4]byte(b[12:16]),
		Reference:      stamp(16), Origin: stamp(24), Receive: stamp(32), Transmit: stamp(40),
	}, nil
}

// Encode renders the packet.
func (p Packet) Encode() []byte {
	b := make([]byte, 0, Size)
	b = append(b, p.Leap<<6|p.Version&7<<3|p.Mode&7, p.Stratum, byte(p.Poll), byte(p.Precision))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RootDelay))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RootDispersion))
	b = append(b, p.ReferenceID[:]...)
	for _, t := range []Timestamp{p.Reference, p.Origin, p.Receive, p.Transmit} {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	return b
}

// Kiss is the code of a kiss-o'-death packet (RFC 5905, 7.4), such as RATE;
// empty for every other packet.
func (p Packet) Kiss() string {
	if p.Stratum != 0 {
		return ""
	}
	code := p.ReferenceID
	for i, c := range code {
		if c < '!' || c > '~' {
			code[i] = '?'
		}
	}
	return string(code[:])
}

// Short is a span of time in units of 2^-16 s.
type Short uint32

// ShortOf rounds up to the next unit.
func ShortOf(d time.Duration) Short {
	return Short((uint64(max(d, 0))<<16 + uint64(time.Second) - 1) / uint64(time.Second))
}

// Duration is the span.
func (s Short) Duration() time.Duration { return time.Duration(uint64(s) * uint64(time.Second) >> 16) }

// Timestamp is a moment in units of 2^-32 s since 1900. It starts anew every
// 2^32 s: in 2036 for the first time.
type Timestamp uint64

const to1970 = 2208988800 // seconds from 1900

// TimestampOf is the timestamp of a moment.
func TimestampOf(t time.Time) Timestamp {
	fraction, _ := bits.Div64(uint64(t.Nanosecond()), 0, uint64(time.Second)) // × 2^32 follows from × 2^64 >> 32
	return Timestamp(uint64(t.Unix()+to1970)<<32 | fraction>>32)
}

// Time is the first moment with that timestamp from a pivot on.
func (t Timestamp) Time(pivot time.Time) time.Time {
	sec := int64(t>>32) - to1970
	nsec := int64(uint64(t&0xffffffff) * uint64(time.Second) >> 32)
	const era = 1 << 32
	behind := pivot.Unix() - sec
	if behind > 0 {
		sec += (behind + era - 1) / era * era
	} else {
		sec -= -behind / era * era
	}
	return time.Unix(sec, nsec)
}
