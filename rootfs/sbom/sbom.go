// Package sbom writes what is in a release as an SPDX 2.3 document in JSON, the same bytes for the same release.
//
// The release is one package that contains every file of the root file
// system's tree, the Debian packages that files came from, and the kernel. Go
// programs are recognised by the build information in them; each links
// statically to its modules and to the standard library of its toolchain.
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Release is what the tree cannot tell.
type Release struct {
	Version string
	Created time.Time // fixed for a release, or the document is not reproducible
	Kernel  Package
	Debian  []Package
}

// Package is a package that was taken or built from a source archive.
type Package struct {
	Name, Version string
	SHA256        string // of the archive, lower-case hex
}

// New describes a release with its root file system's tree.
func New(release Release, tree fs.FS) (*Document, error) {
	b := builder{release: release, modules: map[string]string{}}
	if err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		b.file(path, content)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("list tree: %w", err)
	}
	for _, p := range release.Debian {
		b.source(p, "pkg:deb/debian/"+escape(p.Name)+"@"+escape(p.Version)+"?arch=amd64")
	}
	b.source(release.Kernel, "pkg:generic/"+escape(release.Kernel.Name)+"@"+escape(release.Kernel.Version))
	return b.document()
}

// Write writes the document, indented, as one JSON value.
func Write(w io.Writer, d *Document) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(d); err != nil {
		return fmt.Errorf("write SBOM: %w", err)
	}
	return nil
}

const imageID = "SPDXRef-holdfast"

// builder collects a document's parts.
type builder struct {
	release  Release
	packages []spdxPackage
	files    []spdxFile
	links    []relationship
	sums     []string          // SHA-1 of each file, for the verification code
	modules  map[string]string // the package ID of each purl
}

func (b *builder) file(path string, content []byte) {
	weak, strong := sha1.Sum(content), sha256.Sum256(content)
	f := spdxFile{
		SPDXID: id("file", path),
		Name:   "./" + path,
		Checksums: []checksum{
			{"SHA1", hex.EncodeToString(weak[:])},
			{"SHA256", hex.EncodeToString(strong[:])},
		},
	}
	b.files = append(b.files, f)
	b.sums = append(b.sums, f.Checksums[0].Value)
	b.links = append(b.links, relationship{imageID, contains, f.SPDXID})

	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return // not a Go program
	}
	for _, m := range append(info.Deps, &info.Main, toolchain(info.GoVersion)) {
		b.links = append(b.links, relationship{f.SPDXID, staticLink, b.module(m)})
	}
}

// toolchain is the standard library as if it were a module. Experiments may
// follow the version: "go1.26.8 X:name".
func toolchain(goVersion string) *debug.Module {
	version, _, _ := strings.Cut(strings.TrimPrefix(goVersion, "go"), " ")
	return &debug.Module{Path: "stdlib", Version: version}
}

// module returns the ID of a Go module's package, which many programs share.
// Ours have no version of their own: they are the release's.
func (b *builder) module(m *debug.Module) string {
	if m.Replace != nil {
		m = m.Replace
	}
	version := m.Version
	if m.Path == "holdfast" || strings.HasPrefix(m.Path, "holdfast/") {
		version = b.release.Version
	}
	p := spdxPackage{Name: m.Path, VersionInfo: version}
	if m.Sum != "" {
		p.SourceInfo = "go.sum " + m.Sum
	}
	segments := strings.Split(strings.ToLower(m.Path), "/")
	for i := range segments {
		segments[i] = escape(segments[i])
	}
	return b.add(p, "pkg:golang/"+strings.Join(segments, "/")+"@"+escape(version))
}

func (b *builder) source(p Package, purl string) {
	s := spdxPackage{Name: p.Name, VersionInfo: p.Version}
	if p.SHA256 != "" {
		s.Checksums = []checksum{{"SHA256", p.SHA256}}
	}
	b.links = append(b.links, relationship{imageID, contains, b.add(s, purl)})
}

// add completes a package and keeps it once.
func (b *builder) add(p spdxPackage, purl string) string {
	if known, ok := b.modules[purl]; ok {
		return known
	}
	p.SPDXID = id("package", purl)
	p.DownloadLocation = noAssertion
	p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", purl}}
	b.modules[purl] = p.SPDXID
	b.packages = append(b.packages, p)
	return p.SPDXID
}

func (b *builder) document() (*Document, error) {
	slices.SortFunc(b.packages, func(x, y spdxPackage) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.SPDXID, y.SPDXID))
	})
	slices.SortFunc(b.links, func(x, y relationship) int {
		return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.Type, y.Type), cmp.Compare(x.To, y.To))
	})
	slices.Sort(b.sums)
	code := sha1.Sum([]byte(strings.Join(b.sums, ""))) // clause 7.9
	image := spdxPackage{
		SPDXID:           imageID,
		Name:             "holdfast",
		VersionInfo:      b.release.Version,
		DownloadLocation: noAssertion,
		FilesAnalyzed:    true,
		VerificationCode: &verificationCode{hex.EncodeToString(code[:])},
	}
	d := &Document{
		SPDXVersion: "SPDX-2.3",
		DataLicense: "CC0-1.0",
		SPDXID:      documentID,
		Name:        "holdfast-" + b.release.Version,
		CreationInfo: creationInfo{
			Created:  b.release.Created.UTC().Format(time.RFC3339),
			Creators: []string{"Tool: holdfast-sbom-" + b.release.Version},
		},
		Packages:      append([]spdxPackage{image}, b.packages...),
		Files:         b.files,
		Relationships: append([]relationship{{documentID, describes, imageID}}, slices.Compact(b.links)...),
	}
	content, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	// Every document needs a namespace of its own: this one's digest.
	digest := sha256.Sum256(content)
	d.DocumentNamespace = "urn:holdfast:spdx:" + escape(b.release.Version) + ":" + hex.EncodeToString(digest[:])
	return d, nil
}

// id makes an SPDX identifier, which may hold only letters, digits, . and -.
func id(kind, key string) string {
	digest := sha256.Sum256([]byte(key))
	return "SPDXRef-" + kind + "-" + hex.EncodeToString(digest[:10])
}

// escape percent-encodes a part of a package URL, but for the characters that the URL standard leaves alone.
func escape(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(".-_~", c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
