package arch

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "holdfast"

// layers are the folders in the order in which imports may point: to the left.
var layers = []string{"kernel", "rootfs", "init", "services", "tests", "hack"}

type pkg struct {
	ImportPath, Name, Doc string
	Dir                   string
	GoFiles               []string
	Imports               []string
	TestImports           []string
	XTestImports          []string
}

func packages(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
		t.Fatalf("go list: %s", ee.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func layer(path string) int {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return -1
	}
	return slices.Index(layers, strings.Split(rest, "/")[0])
}

func TestImportsPointLeft(t *testing.T) {
	all := packages(t, "./...")
	if len(all) < 20 {
		t.Fatalf("only %d packages seen", len(all))
	}
	for _, p := range all {
		mine := layer(p.ImportPath)
		if mine < 0 {
			t.Errorf("%s is in none of %v", p.ImportPath, layers)
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if theirs := layer(i); theirs > mine {
				t.Errorf("%s imports %s, which is to its right", p.ImportPath, i)
			}
		}
	}
}

// forbidden is what PID 1 must not link, by prefix.
var forbidden = []string{
	"net/http", "google.golang.org/grpc", "github.com/containerd/", "k8s.io/", "sigs.k8s.io/", "go.yaml.in/",
	"github.com/vishvananda/", "github.com/insomniacslk/", "os/exec", "text/template", "crypto/x509", "crypto/tls",
}

// initModules are the only modules PID 1 may take code from.
var initModules = []string{module, "golang.org/x/sys", "github.com/opencontainers/runtime-spec", "github.com/google/go-tpm"}

func TestInitKeepsItsBudget(t *testing.T) {
	for _, p := range packages(t, "-deps", "./init") {
		for _, f := range forbidden {
			if strings.HasPrefix(p.ImportPath, f) {
				t.Errorf("PID 1 links %s", p.ImportPath)
			}
		}
		first, _, _ := strings.Cut(p.ImportPath, "/")
		known := slices.ContainsFunc(initModules, func(m string) bool { return strings.HasPrefix(p.ImportPath, m) })
		if strings.Contains(first, ".") && !known {
			t.Errorf("PID 1 links %s, which is of none of %v", p.ImportPath, initModules)
		}
	}
}

// TestPanicsAreGuarded: package guard starts every goroutine of PID 1.
func TestPanicsAreGuarded(t *testing.T) {
	for _, p := range packages(t, "./init/...") {
		if strings.HasSuffix(p.ImportPath, "/guard") {
			continue
		}
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s: a go statement, want guard.Go", files.Position(g.Pos()))
				}
				return true
			})
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t, "./...") {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: doc starts %.40q, want %q", p.ImportPath, p.Doc, want)
		}
	}
}

// TestTopLevel keeps the fixed layout.
func TestTopLevel(t *testing.T) {
	allowed := slices.Concat(layers, []string{
		"Makefile", "go.mod", "go.sum", "README.md", "LICENSE", "build", ".ci", ".git", ".gitignore", ".gitattributes", ".golangci.yml",
	})
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the top", e.Name())
		}
	}
}
