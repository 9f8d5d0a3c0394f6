package logs

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"syscall"
)

// kept is a file of some service.
type kept struct {
	service string
	part
	open bool // it is being written
}

// files is the account of all that lies in the directory. A part that is being
// written counts as full.
type files struct {
	boot  int // 0: not scanned yet
	limit int64
	all   []kept // oldest first
}

// scan reads the directory, once. This boot's number is the next one.
func (f *files) scan(dir string) error {
	if f.boot > 0 {
		return nil
	}
	all, err := list(dir)
	if err != nil {
		return err
	}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	f.limit = min(totalBytes, int64(volume.Blocks)*volume.Bsize/totalShare)
	f.all, f.boot = all, 1
	if len(all) > 0 {
		f.boot = all[len(all)-1].boot + 1
	}
	return nil
}

// list finds the parts in a directory, oldest first, with size for the whole
// of each.
func list(dir string) ([]kept, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []kept
	for _, e := range entries {
		k, ok := parseName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it went meanwhile
		}
		k.size = info.Size()
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int {
		return cmp.Or(cmp.Compare(a.boot, b.boot), cmp.Compare(a.number, b.number), cmp.Compare(a.service, b.service))
	})
	return all, nil
}

// onDisk is what a file takes of the disk.
func (k kept) onDisk() int64 {
	return (k.head + k.size + blockBytes - 1) / blockBytes * blockBytes
}

// add notes a part that is going to have up to size bytes.
func (f *files) add(k kept, size int64) {
	k.open, k.size = true, size-k.head
	f.all = append(f.all, k)
}

func (f *files) index(k kept) int {
	return slices.IndexFunc(f.all, func(o kept) bool {
		return o.service == k.service && o.boot == k.boot && o.number == k.number
	})
}

// sized notes how large a part has become that will not grow any more.
func (f *files) sized(service string, p part) {
	if i := f.index(kept{service: service, part: p}); i >= 0 {
		f.all[i].part, f.all[i].open = p, false
	}
}

func (f *files) forget(k kept) {
	if i := f.index(k); i >= 0 {
		f.all = slices.Delete(f.all, i, i+1)
	}
}

// makeRoom names the files that must go before a service can have another part
// of some size.
func (f *files) makeRoom(service string, size int64) (gone []kept) {
	left := slices.Clone(f.all)
	for {
		total, count, closed := int64(0), 0, map[string]int64{}
		for _, k := range left {
			total += k.onDisk()
			if k.service == service {
				count++
			}
			if !k.open {
				closed[k.service] += k.onDisk()
			}
		}
		victim := service
		if count < partsMost {
			if total+size <= f.limit || len(closed) == 0 {
				return gone
			}
			victim = largest(closed)
		}
		i := slices.IndexFunc(left, func(k kept) bool { return k.service == victim && !k.open })
		if i < 0 {
			return gone
		}
		gone = append(gone, left[i])
		left = slices.Delete(left, i, i+1)
	}
}

// largest is the service whose finished files take most of the disk.
func largest(bytes map[string]int64) (service string) {
	for s, n := range bytes {
		if service == "" || n > bytes[service] || n == bytes[service] && s < service {
			service = s
		}
	}
	return service
}
