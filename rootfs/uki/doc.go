// Package uki assembles unified kernel images and lists the sections of one.
//
// A UKI is an EFI program (PE32+, Microsoft's PE format specification): a stub
// that finds the kernel, the initrd and their like in sections of itself. It
// follows the UAPI Group's UKI specification, UAPI.5, and systemd-stub 257.
// Numbers are little endian. Build changes these fields of the stub:
//
//	at                 size field
//	file offset 60     4    offset P of the signature "PE\0\0"
//	P+4                20   COFF header:
//	  +2               2      number of sections
//	  +8, +12          4, 4   symbol table and its size, zeroed
//	P+24               240  optional header:
//	  +8               4      size of initialised data
//	  +56              4      size of the image in memory
//	  +64              4      check sum, zeroed: it is not looked at
//	P+264              40   each section header:
//	  +0               8      name, padded with zeros
//	  +8               4      size in memory: exactly that of the content
//	  +12              4      address, a multiple of the section alignment
//	  +16              4      size in the file, a multiple of the file alignment
//	  +20              4      offset in the file, likewise
//	  +36              4      flags: initialised data, readable
//
// The same stub and sections always give the same bytes.
//
// # Decisions
//
// .linux is not marked as code: the stub hands the kernel to the firmware's
// loader, which copies it, so nothing in a UKI but the stub is executable.
package uki
