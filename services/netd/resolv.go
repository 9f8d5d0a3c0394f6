package netd

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"holdfast/services/nodeconfig"
)

// Limits of resolver libraries (resolv.conf(5)) and of kubelet, which drops
// what is beyond them with a complaint at every pod.
const (
	maxServers = 3
	maxSearch  = 32
)

// resolvConf writes resolv.conf: what is configured, or else what the
// interfaces have learnt, in their order.
func resolvConf(n nodeconfig.Network, learntServers []netip.Addr, learntSearch []string) []byte {
	servers, search := n.Nameservers, n.Search
	if len(servers) == 0 {
		servers = learntServers
	}
	if len(search) == 0 {
		search = learntSearch
	}
	servers, search = unique(servers, maxServers), unique(search, maxSearch)
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	return []byte(b.String())
}

func unique[T comparable](list []T, most int) []T {
	var out []T
	for _, v := range list {
		if !slices.Contains(out, v) && len(out) < most {
			out = append(out, v)
		}
	}
	return out
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func sortedFunc[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
