package spec

import (
	"fmt"
	"slices"
	"strings"
)

// Order sorts services so that each comes after all that it requires; equals
// keep the order of their names. Unknown names and cycles are refused.
func Order(services []*Service) ([]*Service, error) {
	byName := make(map[string]*Service, len(services))
	for _, s := range services {
		if byName[s.Name] != nil {
			return nil, fmt.Errorf("service %s is there twice", s.Name)
		}
		byName[s.Name] = s
	}
	sorted := slices.Clone(services)
	slices.SortFunc(sorted, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	o := orderer{byName: byName, done: map[string]bool{}}
	for _, s := range sorted {
		if err := o.visit(s, nil); err != nil {
			return nil, err
		}
	}
	return o.out, nil
}

type orderer struct {
	byName map[string]*Service
	done   map[string]bool
	out    []*Service
}

func (o *orderer) visit(s *Service, path []string) error {
	if o.done[s.Name] {
		return nil
	}
	if i := slices.Index(path, s.Name); i >= 0 {
		return fmt.Errorf("services require each other: %s", strings.Join(append(path[i:], s.Name), " → "))
	}
	path = append(path, s.Name)
	for _, name := range s.Requires {
		r := o.byName[name]
		if r == nil {
			return fmt.Errorf("service %s requires %q, which does not exist", s.Name, name)
		}
		if err := o.visit(r, path); err != nil {
			return err
		}
	}
	o.done[s.Name] = true
	o.out = append(o.out, s)
	return nil
}
