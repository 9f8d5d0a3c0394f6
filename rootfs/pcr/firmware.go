package pcr

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"

	"holdfast/rootfs/gpt"
)

// Program is an EFI program that firmware verifies and starts.
type Program struct {
	Name   string
	Digest func(crypto.Hash) []byte // of Authenticode
	Cert   []byte                   // the certificate that verifies it, in DER
}

// Variables are the contents of those that rule Secure Boot; an empty one is
// not set.
type Variables struct {
	PK, KEK, DB, DBX []byte
}

const (
	bootAction     = "Calling EFI Application from Boot Option"
	globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	imageSecurity  = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	certX509       = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
)

// Boot predicts PCR 4: the programs that firmware starts, in order.
func Boot(programs []Program) Register {
	r := Register{Index: Programs}
	r.extendData("firmware starts the boot option", []byte(bootAction))
	r.separate()
	for _, p := range programs {
		r.extend("program "+p.Name, p.Digest)
	}
	return r
}

// Verified predicts PCR 7: the state of Secure Boot, which is on, and which of
// its keys verified the programs.
func Verified(v Variables, programs []Program) (Register, error) {
	r := Register{Index: SecureBoot}
	for _, variable := range []struct {
		name, vendor string
		content      []byte
	}{
		{"SecureBoot", globalVariable, []byte{1}}, {"PK", globalVariable, v.PK}, {"KEK", globalVariable, v.KEK},
		{"db", imageSecurity, v.DB}, {"dbx", imageSecurity, v.DBX},
	} {
		r.extendData("variable "+variable.name, variableData(variable.name, variable.vendor, variable.content))
	}
	r.separate()
	var done [][]byte
	for _, p := range programs {
		entry, err := authority(v.DB, p.Cert)
		if err != nil {
			return Register{}, fmt.Errorf("predict PCR %d: program %s: %w", SecureBoot, p.Name, err)
		}
		if !contains(done, entry) {
			r.extendData("db entry that verified "+p.Name, variableData("db", imageSecurity, entry))
			done = append(done, entry)
		}
	}
	return r, nil
}

func (r *Register) separate() { r.extendData("separator", make([]byte, 4)) }

func contains(all [][]byte, one []byte) bool {
	for _, b := range all {
		if bytes.Equal(b, one) {
			return true
		}
	}
	return false
}

// variableData is UEFI_VARIABLE_DATA.
func variableData(name, vendor string, content []byte) []byte {
	text := utf16.Encode([]rune(name))
	b := guid(vendor)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(text)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(content)))
	for _, c := range text {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return append(b, content...)
}

func guid(text string) []byte {
	g, err := gpt.ParseGUID(text)
	if err != nil {
		panic(err) // a constant of this file
	}
	return g[:]
}

const (
	listHeaderSize = 28 // EFI_SIGNATURE_LIST: type 16, size 4, header size 4, entry size 4
	ownerSize      = 16 // EFI_SIGNATURE_DATA: owner, then the certificate
)

// authority finds the EFI_SIGNATURE_DATA of a certificate in the lists of db.
func authority(db, cert []byte) ([]byte, error) {
	for len(db) > 0 {
		if len(db) < listHeaderSize {
			return nil, errors.New("db is cut off in a signature list's header")
		}
		size, header := binary.LittleEndian.Uint32(db[16:]), binary.LittleEndian.Uint32(db[20:])
		entry := binary.LittleEndian.Uint32(db[24:])
		if uint64(size) > uint64(len(db)) || uint64(size) < listHeaderSize+uint64(header) || entry <= ownerSize {
			return nil, fmt.Errorf("db has a signature list of %d bytes with entries of %d, %d bytes are left", size, entry, len(db))
		}
		entries, isCert := db[listHeaderSize+header:size], bytes.Equal(db[:16], guid(certX509))
		for ; isCert && uint64(len(entries)) >= uint64(entry); entries = entries[entry:] {
			if bytes.Equal(entries[ownerSize:entry], cert) {
				return entries[:entry], nil
			}
		}
		db = db[size:]
	}
	return nil, errors.New("db does not have the certificate that signed it")
}
