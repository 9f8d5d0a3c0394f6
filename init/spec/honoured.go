package spec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// honoured lists the fields that PID 1 acts on, or refuses by their value. A
// list or map has its elements' fields. Whatever else specs.Spec has, now or in
// a later version, is refused where it is set.
var honoured = []string{
	"ociVersion",
	"process.args", "process.env", "process.cwd",
	"process.user.uid", "process.user.gid", "process.user.umask", "process.user.additionalGids",
	"process.capabilities.bounding", "process.capabilities.effective", "process.capabilities.inheritable",
	"process.capabilities.permitted", "process.capabilities.ambient",
	"process.rlimits.type", "process.rlimits.hard", "process.rlimits.soft",
	"process.noNewPrivileges", "process.oomScoreAdj", "process.selinuxLabel",
	"process.ioPriority.class", "process.ioPriority.priority",
	"root.path", "root.readonly",
	"mounts.destination", "mounts.type", "mounts.source", "mounts.options",
	"annotations",
	"linux.uidMappings.containerID", "linux.uidMappings.hostID", "linux.uidMappings.size",
	"linux.gidMappings.containerID", "linux.gidMappings.hostID", "linux.gidMappings.size",
	"linux.resources.memory.limit", "linux.resources.memory.reservation", "linux.resources.memory.swap",
	"linux.resources.cpu.shares", "linux.resources.cpu.quota", "linux.resources.cpu.period",
	"linux.resources.cpu.cpus", "linux.resources.cpu.mems", "linux.resources.cpu.idle",
	"linux.resources.pids.limit", "linux.resources.blockIO.weight", "linux.resources.unified",
	"linux.cgroupsPath",
	"linux.namespaces.type",
	"linux.seccomp.defaultAction", "linux.seccomp.defaultErrnoRet", "linux.seccomp.architectures", "linux.seccomp.flags",
	"linux.seccomp.syscalls.names", "linux.seccomp.syscalls.action", "linux.seccomp.syscalls.errnoRet",
	"linux.seccomp.syscalls.args.index", "linux.seccomp.syscalls.args.value", "linux.seccomp.syscalls.args.valueTwo",
	"linux.seccomp.syscalls.args.op",
	"linux.rootfsPropagation", "linux.maskedPaths", "linux.readonlyPaths",
}

// checkHonoured refuses a specification that sets a field PID 1 would ignore.
// It looks at what was decoded and not at the text: of a key that is there
// twice, the decoder keeps parts of both.
func checkHonoured(s *specs.Spec) error {
	var ignored []string
	walk("", reflect.ValueOf(s), &ignored)
	if len(ignored) > 0 {
		slices.Sort(ignored)
		return fmt.Errorf("fields that are not honoured: %s", strings.Join(slices.Compact(ignored), ", "))
	}
	return nil
}

// walk collects the paths of fields that are set and not honoured. A field
// with its type's zero value is not set, nor is an empty list.
func walk(path string, v reflect.Value, ignored *[]string) {
	if slices.Contains(honoured, path) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if v.Elem().Kind() != reflect.Struct { // there to tell zero from not set
			*ignored = append(*ignored, path)
			return
		}
		walk(path, v.Elem(), ignored)
	case reflect.Struct:
		for i := range v.NumField() {
			walk(join(path, v.Type().Field(i)), v.Field(i), ignored)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(path, v.Index(i), ignored)
		}
	case reflect.Map:
		if v.Len() > 0 {
			*ignored = append(*ignored, path)
		}
	default:
		if !v.IsZero() {
			*ignored = append(*ignored, path)
		}
	}
}

// join appends a field's name in JSON.
func join(path string, f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.TrimPrefix(path+"."+name, ".")
}
