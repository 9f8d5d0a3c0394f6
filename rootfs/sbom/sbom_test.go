package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// sample is a release whose only Go program is this test.
func sample(t *testing.T) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{
		"usr/bin/program": {Data: program},
		"usr/bin/copy":    {Data: program},
		"etc/hosts":       {Data: []byte("127.0.0.1 localhost\n")},
	}
	d, err := New(Release{
		Version: "0.1.0",
		Created: time.Unix(1_700_000_000, 0),
		Kernel:  Package{"linux", "6.18.15", strings.Repeat("ab", 32)},
		Debian:  []Package{{"libstdc++6", "1:14.2.0-19+b1", strings.Repeat("cd", 32)}},
	}, tree)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, d); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDeterministic(t *testing.T) {
	if !bytes.Equal(sample(t), sample(t)) {
		t.Error("the same release twice gives different documents")
	}
}

// TestMandatory checks what SPDX 2.3 demands of every document, package, file and relationship.
func TestMandatory(t *testing.T) {
	var d map[string]any
	if err := json.Unmarshal(sample(t), &d); err != nil {
		t.Fatal(err)
	}
	match(t, "document", d, map[string]string{
		"spdxVersion": `SPDX-2\.3`, "dataLicense": `CC0-1\.0`, "SPDXID": `SPDXRef-DOCUMENT`,
		"name": `holdfast-0\.1\.0`, "documentNamespace": `urn:[a-z]+:[^#]+`,
	})
	match(t, "creationInfo", d["creationInfo"], map[string]string{"created": `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`})
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range d["packages"].([]any) {
		match(t, "package", p, map[string]string{"name": `.+`, "SPDXID": idForm, "downloadLocation": `NOASSERTION`})
		ids[unique(t, ids, p)] = true
		// Without a verification code files may not be analyzed, and the other way round.
		if _, code := p.(map[string]any)["packageVerificationCode"]; code != p.(map[string]any)["filesAnalyzed"] {
			t.Errorf("package %v: filesAnalyzed does not fit", p)
		}
	}
	for _, f := range d["files"].([]any) {
		match(t, "file", f, map[string]string{"fileName": `\./.+`, "SPDXID": idForm})
		match(t, "checksum", f.(map[string]any)["checksums"].([]any)[0], map[string]string{"algorithm": "SHA1", "checksumValue": `[0-9a-f]{40}`})
		ids[unique(t, ids, f)] = true
	}
	for _, r := range d["relationships"].([]any) {
		match(t, "relationship", r, map[string]string{"relationshipType": `DESCRIBES|CONTAINS|STATIC_LINK`})
		for _, end := range []string{"spdxElementId", "relatedSpdxElement"} {
			if id := r.(map[string]any)[end].(string); !ids[id] {
				t.Errorf("relationship to %s, which is not there", id)
			}
		}
	}
}

const idForm = `SPDXRef-[A-Za-z0-9.-]+`

func match(t *testing.T, what string, element any, fields map[string]string) {
	t.Helper()
	for name, form := range fields {
		value, ok := element.(map[string]any)[name].(string)
		if !ok || !regexp.MustCompile(`^(`+form+`)$`).MatchString(value) {
			t.Errorf("%s: %s is %q, want %s", what, name, value, form)
		}
	}
}

func unique(t *testing.T, ids map[string]bool, element any) string {
	t.Helper()
	id := element.(map[string]any)["SPDXID"].(string)
	if ids[id] {
		t.Errorf("%s is there twice", id)
	}
	return id
}

func TestPurls(t *testing.T) {
	var d Document
	if err := json.Unmarshal(sample(t), &d); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range d.Packages {
		for _, r := range p.ExternalRefs {
			got = append(got, r.Locator)
		}
	}
	version := escape(strings.TrimPrefix(runtime.Version(), "go"))
	for _, want := range []string{
		"pkg:golang/stdlib@" + version,
		"pkg:golang/holdfast@0.1.0",
		"pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19%2Bb1?arch=amd64",
		"pkg:generic/linux@6.18.15",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
}
