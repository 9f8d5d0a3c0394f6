package operator

import (
	"fmt"
	"strings"
	"sync"

	"holdfast/init/control"
	"holdfast/kernel/seqpacket"
)

// pods is the control group of all pods: kubelet's, with cgroupDriver cgroupfs.
const pods = "/kubepods"

// roleOf is the role by user and group; checkGroup has the last word.
func (s *Server) roleOf(p seqpacket.Peer) control.Role {
	switch {
	case p.UID == 0, p.Member(control.GroupOperator):
		return control.Operator
	case p.Member(s.Group):
		return control.Reader
	}
	return control.Nobody
}

// checkGroup refuses a process of a pod, and one of which that can't be told.
func (s *Server) checkGroup(p seqpacket.Peer) *control.Error {
	path, err := p.Cgroup()
	if err != nil {
		return &control.Error{Code: control.Refused, Text: err.Error()}
	}
	if strings.HasPrefix(path+"/", pods+"/") {
		return &control.Error{Code: control.Refused, Text: "a pod may not use the control socket"}
	}
	return nil
}

func (s *Server) nobody() *control.Error {
	return &control.Error{Code: control.Refused, Text: fmt.Sprintf("only user 0 and members of group %d may use the control socket", s.Group)}
}

// limits are how many connections each role may have, and how many of these
// may be long: one that follows a log keeps no other call out.
var limits = map[control.Role]struct{ all, long int }{
	control.Operator: {16, 12},
	control.Reader:   {16, 12},
}

// slots counts the connections.
type slots struct {
	mu    sync.Mutex
	taken map[slot]int
}

type slot struct {
	role control.Role
	long bool
}

func (s *slots) take(role control.Role, long bool) bool {
	most := limits[role].all
	if long {
		most = limits[role].long
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken == nil {
		s.taken = map[slot]int{}
	}
	if s.taken[slot{role, long}] >= most {
		return false
	}
	s.taken[slot{role, long}]++
	return true
}

func (s *slots) give(role control.Role, long bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[slot{role, long}]--
}
