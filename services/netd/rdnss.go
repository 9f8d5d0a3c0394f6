package netd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// advert is what a router advertisement says about names (RFC 8106).
type advert struct {
	index   int
	servers []netip.Addr
	search  []string
	life    time.Duration // 0: no longer valid
}

// Neighbour discovery options as the kernel hands them on: struct
// nduseroptmsg (linux/rtnetlink.h), then one option.
//
//	offset  size  field
//	0       1     family
//	2       2     length of the options
//	4       4     interface index
//	8       1     ICMPv6 type, 134: router advertisement
//	16            option: type, length in 8 bytes, 2 reserved, 4 lifetime in
//	              seconds, then addresses (type 25) or names (type 31)
const (
	advertHeader  = 16
	optionHeader  = 8
	routerAdvert  = 134
	optionServers = 25
	optionSearch  = 31
	maxNames      = 16
)

// parseAdvert reads a message; false: it says nothing about names.
func parseAdvert(b []byte) (advert, bool) {
	if len(b) < advertHeader+optionHeader || b[0] != unix.AF_INET6 || b[8] != routerAdvert {
		return advert{}, false
	}
	a := advert{index: int(binary.NativeEndian.Uint32(b[4:]))}
	option := b[advertHeader:]
	length := int(option[1]) * 8
	if length < optionHeader || length > len(option) {
		return advert{}, false
	}
	a.life = time.Duration(binary.BigEndian.Uint32(option[4:])) * time.Second
	body := option[optionHeader:length]
	switch option[0] {
	case optionServers:
		for ; len(body) >= 16 && len(a.servers) < maxNames; body = body[16:] {
			if s := netip.AddrFrom16([16]byte(body[:16])); !s.IsUnspecified() && !s.IsMulticast() && !s.Is4In6() {
				a.servers = append(a.servers, s)
			}
		}
	case optionSearch:
		a.search = names(body)
	}
	return a, len(a.servers)+len(a.search) > 0
}

// names reads DNS names one after the other (RFC 1035, 3.1), not compressed.
func names(b []byte) []string {
	var out []string
	var labels []string
	for len(b) > 0 && len(out) < maxNames {
		n := int(b[0])
		if n == 0 {
			if name := strings.Join(labels, "."); isDomain(name) {
				out = append(out, name)
			}
			labels, b = nil, b[1:]
			continue
		}
		if n > 63 || n >= len(b) {
			break
		}
		labels, b = append(labels, string(b[1:1+n])), b[1+n:]
	}
	return out
}

// RTNLGRP_ND_USEROPT (linux/rtnetlink.h), which x/sys/unix has not.
const groupNDUserOpt = 20

// watchAdverts sends what router advertisements say, and closes the channel
// when it can hear no more.
func watchAdverts(to chan<- advert, done <-chan struct{}) (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, groupNDUserOpt)
	if err != nil {
		return nil, fmt.Errorf("listen to router advertisements: %w", err)
	}
	go func() {
		defer close(to)
		for {
			messages, from, err := s.Receive()
			if err != nil {
				return
			}
			for _, m := range messages {
				a, ok := parseAdvert(m.Data)
				if !ok || from.Pid != nl.PidKernel || m.Header.Type != unix.RTM_NEWNDUSEROPT {
					continue
				}
				select {
				case to <- a:
				case <-done:
					return
				}
			}
		}
	}()
	return s, nil
}

// learnt are the names that came with advertisements: what, and until when.
type learnt struct {
	Servers map[netip.Addr]time.Duration `json:"servers,omitempty"`
	Search  map[string]time.Duration     `json:"search,omitempty"`
}

// hear takes an advertisement in and reports whether it told anything new.
func (l *learnt) hear(a advert, now time.Duration) bool {
	if l.Servers == nil {
		l.Servers, l.Search = map[netip.Addr]time.Duration{}, map[string]time.Duration{}
	}
	news := false
	for _, s := range a.servers {
		news = note(l.Servers, s, a.life, now) || news
	}
	for _, s := range a.search {
		news = note(l.Search, s, a.life, now) || news
	}
	return news
}

func note[K comparable](m map[K]time.Duration, k K, life, now time.Duration) bool {
	_, known := m[k]
	switch {
	case life > 0 && (known || len(m) < maxNames):
		m[k] = now + life
		return !known
	case life == 0 && known:
		delete(m, k)
		return true
	}
	return false
}

// expire forgets what is over and reports whether there was any.
func (l *learnt) expire(now time.Duration) bool {
	before := len(l.Servers) + len(l.Search)
	for k, end := range l.Servers {
		if end <= now {
			delete(l.Servers, k)
		}
	}
	for k, end := range l.Search {
		if end <= now {
			delete(l.Search, k)
		}
	}
	return len(l.Servers)+len(l.Search) != before
}
