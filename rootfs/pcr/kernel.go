package pcr

import (
	"bytes"
	"debug/pe"
	"fmt"
	"strings"
)

// Phases are what PID 1 extends into PCR 11, in order; the words are systemd's.
func Phases() []string {
	return []string{"enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown"}
}

// measured are the sections that systemd-stub 257 measures, in its order: that
// of its enumeration of sections, whatever the image's is. It leaves out
// .pcrsig, which is about the others.
var measured = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile", ".dtbauto", ".hwids",
}

// selected are sections of which the stub may take one of several: such an
// image has no single prediction.
var selected = []string{".profile", ".dtbauto"}

// maxSectionBytes bounds a section in memory.
const maxSectionBytes = 1 << 30

// UKI predicts PCR 11 for a unified kernel image, signed or not, with the phases
// of its boot.
func UKI(image []byte) (Register, error) {
	sections, err := measuredSections(image)
	if err != nil {
		return Register{}, fmt.Errorf("predict PCR %d: %w", Kernel, err)
	}
	r := Register{Index: Kernel}
	for _, name := range measured {
		if data, ok := sections[name]; ok {
			r.extendData("name of section "+name, []byte(name+"\x00"))
			r.extendData("section "+name, data)
		}
	}
	for i, phase := range Phases() {
		r.extendData("phase "+phase, []byte(phase))
		r.Events[len(r.Events)-1].Phase = strings.Join(Phases()[:i+1], ":")
	}
	return r, nil
}

// measuredSections reads the sections as they are in memory: where the file
// has less of one, zeros follow.
func measuredSections(image []byte) (map[string][]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("read UKI: %w", err)
	}
	defer f.Close()
	sections := map[string][]byte{}
	for _, name := range measured {
		s := f.Section(name) // the first, which is the one that the stub takes
		if s == nil {
			continue
		}
		if s.VirtualSize > maxSectionBytes || uint64(s.Offset)+uint64(s.Size) > uint64(len(image)) {
			return nil, fmt.Errorf("read UKI: section %s ends outside of the image", name)
		}
		data := image[s.Offset:][:min(s.Size, s.VirtualSize)]
		if pad := int(s.VirtualSize) - len(data); pad > 0 {
			data = append(bytes.Clone(data), make([]byte, pad)...)
		}
		sections[name] = data
	}
	if sections[".linux"] == nil {
		return nil, fmt.Errorf("read UKI: no section .linux")
	}
	for _, name := range selected {
		if sections[name] != nil {
			return nil, fmt.Errorf("read UKI: section %s: what is measured depends on the machine", name)
		}
	}
	return sections, nil
}
