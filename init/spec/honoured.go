package spec

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// honoured lists the fields that PID 1 acts on. A name ending in .* covers
// everything below it.
var honoured = []string{
	"ociVersion",
	"annotations.*",
	"process.args",
	"process.env",
	"process.cwd",
	"process.user.uid",
	"process.user.gid",
	"process.user.additionalGids",
	"process.capabilities.*",
	"process.rlimits.*",
	"process.noNewPrivileges",
	"process.oomScoreAdj",
	"linux.cgroupsPath",
	"linux.resources.memory.limit",
	"linux.resources.pids.limit",
	"linux.resources.unified.*",
}

// checkHonoured refuses a specification that sets a field PID 1 would ignore.
func checkHonoured(data []byte) error {
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	var unknown []string
	walk("", doc, &unknown)
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("fields that are not honoured: %s", strings.Join(unknown, ", "))
	}
	return nil
}

// walk collects the paths of values that say something and are not honoured.
// null, false, "" and empty collections say nothing.
func walk(path string, v any, unknown *[]string) {
	if isHonoured(path) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			walk(strings.TrimPrefix(path+"."+k, "."), e, unknown)
		}
	case []any:
		for _, e := range v {
			walk(path, e, unknown)
		}
	case nil:
	default:
		if v != false && v != "" {
			*unknown = append(*unknown, path)
		}
	}
}

func isHonoured(path string) bool {
	for _, h := range honoured {
		if below, ok := strings.CutSuffix(h, "*"); ok && strings.HasPrefix(path, below) || path == h {
			return true
		}
	}
	return false
}
