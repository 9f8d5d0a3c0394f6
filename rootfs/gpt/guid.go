package gpt

import (
	"encoding/hex"
	"fmt"
	"slices"
)

// GUID is a globally unique identifier as it is on disk: the first three
// groups of its text form are little endian.
type GUID [16]byte

// Partition types of the UAPI Discoverable Partitions Specification.
var (
	TypeESP        = mustParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeRoot       = mustParseGUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709") // x86-64
	TypeRootVerity = mustParseGUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5") // x86-64
	TypeLinux      = mustParseGUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
)

// ParseGUID reads the text form, such as c12a7328-f81f-11d2-ba4b-00a0c93ec93b.
func ParseGUID(s string) (GUID, error) {
	bad := fmt.Errorf("parse GUID %q: expected 8-4-4-4-12 hexadecimal digits", s)
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return GUID{}, bad
	}
	text, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return GUID{}, bad
	}
	return GUIDFromText([16]byte(text)), nil
}

// GUIDFromText makes a GUID of bytes in the order of the text form, so that
// its String is their hexadecimal form with dashes.
func GUIDFromText(text [16]byte) GUID { return swap(text) }

// String is the text form in lower case.
func (g GUID) String() string {
	text := swap(g)
	return fmt.Sprintf("%x-%x-%x-%x-%x", text[:4], text[4:6], text[6:8], text[8:10], text[10:])
}

// swap converts between the order on disk and that of the text form.
func swap(g [16]byte) [16]byte {
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return g
}

func mustParseGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}
