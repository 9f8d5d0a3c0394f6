package uki

import (
	"bytes"
	"cmp"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Section is a named part of an image.
type Section struct {
	Name string // such as ".linux"
	Data []byte
}

// order is that of the sections that can be added, as ukify lays them out;
// .pcrsig is about all the others and comes last.
var order = []string{".osrel", ".cmdline", ".uname", ".sbat", ".pcrpkey", ".linux", ".initrd", ".pcrsig"}

// maxImageBytes bounds a UKI; firmware reads it into memory as a whole.
const maxImageBytes = 1 << 30

const (
	coffSize     = 20  // pe.FileHeader
	optionalSize = 240 // pe.OptionalHeader64
	sectionSize  = 40  // pe.SectionHeader32
)

// Build adds sections to a stub, in the order that systemd-stub expects,
// whatever theirs is.
func Build(stub []byte, sections []Section) ([]byte, error) {
	img, err := parseStub(stub)
	if err != nil {
		return nil, fmt.Errorf("build UKI: stub: %w", err)
	}
	sections = slices.Clone(sections)
	slices.SortStableFunc(sections, func(a, b Section) int {
		return cmp.Compare(slices.Index(order, a.Name), slices.Index(order, b.Name))
	})
	if err := img.check(sections); err != nil {
		return nil, fmt.Errorf("build UKI: %w", err)
	}
	for _, s := range sections {
		img.add(s)
	}
	return img.encode(), nil
}

// Sections lists the sections of an image, those of its stub included. Data is
// as long as the section is in memory, or less where the file holds less.
func Sections(image io.ReaderAt) ([]Section, error) {
	f, err := pe.NewFile(image)
	if err != nil {
		return nil, fmt.Errorf("read UKI: %w", err)
	}
	defer f.Close()
	var sections []Section
	for _, s := range f.Sections {
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("read UKI: section %s: %w", s.Name, err)
		}
		sections = append(sections, Section{s.Name, data[:min(len(data), int(s.VirtualSize))]})
	}
	return sections, nil
}

// image is an image that is being built.
type image struct {
	data     []byte // headers and the content of the sections so far
	coffAt   int    // where the COFF header is in data
	coff     pe.FileHeader
	optional pe.OptionalHeader64
	names    []string
	next     uint32 // the first free address
	room     int    // for more section headers
}

func parseStub(stub []byte) (*image, error) {
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	optional, is64 := f.OptionalHeader.(*pe.OptionalHeader64)
	switch {
	case !is64 || f.SizeOfOptionalHeader != optionalSize || optional.NumberOfRvaAndSizes != 16:
		return nil, errors.New("not a 64-bit EFI program")
	case optional.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size != 0:
		return nil, errors.New("it is signed, expected an unsigned one")
	case !isAlignment(optional.FileAlignment) || !isAlignment(optional.SectionAlignment):
		return nil, fmt.Errorf("file alignment %d, section alignment %d, expected powers of two up to 64 KiB", optional.FileAlignment, optional.SectionAlignment)
	}
	img := &image{
		coffAt: int(binary.LittleEndian.Uint32(stub[60:])) + 4,
		coff:   f.FileHeader, optional: *optional,
	}
	tableEnd := img.coffAt + coffSize + optionalSize + len(f.Sections)*sectionSize
	var memoryEnd uint64
	end, firstData := uint64(tableEnd), uint64(optional.SizeOfHeaders)
	for _, s := range f.Sections {
		img.names = append(img.names, s.Name)
		memoryEnd = max(memoryEnd, uint64(s.VirtualAddress)+uint64(s.VirtualSize))
		if s.Size > 0 {
			end, firstData = max(end, uint64(s.Offset)+uint64(s.Size)), min(firstData, uint64(s.Offset))
		}
	}
	if end > uint64(len(stub)) || memoryEnd > maxImageBytes {
		return nil, fmt.Errorf("its sections end at byte %d and address %#x, the file at %d", end, memoryEnd, len(stub))
	}
	if int(end) != len(stub) && f.PointerToSymbolTable == 0 {
		return nil, fmt.Errorf("%d bytes behind its last section", len(stub)-int(end))
	}
	img.data = bytes.Clone(stub[:end]) // without a symbol table
	img.next = uint32(memoryEnd)
	img.room = (int(firstData) - tableEnd) / sectionSize
	return img, nil
}

func isAlignment(n uint32) bool { return n > 0 && n <= 1<<16 && n&(n-1) == 0 }

// check says why the sections, which are in order, cannot be added.
func (img *image) check(sections []Section) error {
	if len(sections) > img.room {
		return fmt.Errorf("%d sections to add, the stub's headers have room for %d", len(sections), max(img.room, 0))
	}
	total := len(img.data)
	for i, s := range sections {
		switch {
		case !slices.Contains(order, s.Name):
			return fmt.Errorf("section %q, expected one of %v", s.Name, order)
		case i > 0 && sections[i-1].Name == s.Name:
			return fmt.Errorf("section %s is given twice", s.Name)
		case slices.Contains(img.names, s.Name):
			return fmt.Errorf("section %s is in the stub already", s.Name)
		case len(s.Data) == 0:
			return fmt.Errorf("section %s is empty", s.Name)
		}
		if total += len(s.Data); total > maxImageBytes {
			return fmt.Errorf("section %s makes the image larger than %d bytes", s.Name, maxImageBytes)
		}
	}
	return nil
}

// add appends a section and its header.
func (img *image) add(s Section) {
	img.data = pad(img.data, img.optional.FileAlignment)
	h := pe.SectionHeader32{
		VirtualSize:      uint32(len(s.Data)),
		VirtualAddress:   align(img.next, img.optional.SectionAlignment),
		SizeOfRawData:    align(uint32(len(s.Data)), img.optional.FileAlignment),
		PointerToRawData: uint32(len(img.data)),
		Characteristics:  pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	}
	copy(h.Name[:], s.Name)
	at := img.coffAt + coffSize + optionalSize + int(img.coff.NumberOfSections)*sectionSize
	put(img.data[at:], h)
	img.coff.NumberOfSections++
	img.optional.SizeOfInitializedData += h.SizeOfRawData
	img.next = h.VirtualAddress + h.VirtualSize
	img.data = pad(append(img.data, s.Data...), img.optional.FileAlignment)
}

// encode completes the headers.
func (img *image) encode() []byte {
	img.coff.PointerToSymbolTable, img.coff.NumberOfSymbols = 0, 0
	img.optional.SizeOfImage = align(img.next, img.optional.SectionAlignment)
	img.optional.CheckSum = 0
	put(img.data[img.coffAt:], img.coff)
	put(img.data[img.coffAt+coffSize:], img.optional)
	return img.data
}

func put(b []byte, v any) {
	if _, err := binary.Encode(b, binary.LittleEndian, v); err != nil {
		panic(err) // the buffer is too small: a programmer's error
	}
}

func align(n, to uint32) uint32 { return (n + to - 1) &^ (to - 1) }

func pad(b []byte, to uint32) []byte {
	return append(b, make([]byte, int(align(uint32(len(b)), to))-len(b))...)
}
