package keys

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/foxboron/go-uefi/pkcs7"

	"holdfast/rootfs/gpt"
)

// Owner is the GUID by which firmware knows whose the enrolled keys are.
const Owner = "686f6c64-6661-7374-8000-6b6579730000" // "holdfast" and "keys" in ASCII

// signatureList is EFI_SIGNATURE_LIST with one EFI_SIGNATURE_DATA, UEFI
// specification 2.10, 32.4.1. An X.509 certificate in DER follows.
//
//	offset size field
//	0      16   type of the signature: a certificate
//	16     4    size of all, header included
//	20     4    0
//	24     4    size of the signature: owner and certificate
//	28     16   owner
type signatureList struct {
	Type                            gpt.GUID
	ListSize, HeaderSize, EntrySize uint32
	Owner                           gpt.GUID
}

// authentication is EFI_VARIABLE_AUTHENTICATION_2, 8.2.2. A PKCS #7 SignedData
// follows, then the variable's new content.
//
//	offset size field
//	0      16   time of signing
//	16     4    size of this but for the time, with the SignedData
//	20     2    revision 0x0200
//	22     2    type 0x0ef1: WIN_CERT_TYPE_EFI_GUID
//	24     16   EFI_CERT_TYPE_PKCS7_GUID
type authentication struct {
	Time     efiTime
	Length   uint32
	Revision uint16
	Type     uint16
	CertType gpt.GUID
}

// efiTime is EFI_TIME, 8.3, in UTC; what is not named stays zero here.
type efiTime struct {
	Year                             uint16
	Month, Day, Hour, Minute, Second uint8
	_                                [9]uint8
}

const (
	sizeofAuthentication = 40
	sizeofTime           = 16
	// Non-volatile, boot and run-time access, time-based authenticated write access.
	attributes uint32 = 0x01 | 0x02 | 0x04 | 0x20
	// The variables' vendors, and types of signatures.
	globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	imageSecurity  = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	certX509       = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
	certPKCS7      = "4aafd29d-68df-49ee-8aa9-347d375665a7"
)

// signedAt is when the files say that they were signed: always the same, so
// that they are too. A later change of a variable needs a later time.
func signedAt() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// EnrollFiles gives, by file name, the authenticated variables that set up the
// keys on firmware in setup mode, as systemd-boot wants them in
// loader/keys/auto on the ESP.
func (k *Keys) EnrollFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, v := range []struct {
		name, vendor string
		cert         *x509.Certificate
		by           Pair
	}{
		{"PK", globalVariable, k.PK.Cert, k.PK},
		{"KEK", globalVariable, k.KEK.Cert, k.PK},
		{"db", imageSecurity, k.DB.Cert, k.KEK},
	} {
		data, err := signVariable(v.name, v.vendor, v.cert, v.by)
		if err != nil {
			return nil, fmt.Errorf("sign variable %s: %w", v.name, err)
		}
		files[v.name+".auth"] = data
	}
	return files, nil
}

// Variables gives the contents of PK, KEK and db once the keys are enrolled.
func (k *Keys) Variables() (map[string][]byte, error) {
	contents := map[string][]byte{}
	for name, p := range map[string]Pair{"PK": k.PK, "KEK": k.KEK, "db": k.DB} {
		list, err := encodeList(p.Cert)
		if err != nil {
			return nil, fmt.Errorf("encode variable %s: %w", name, err)
		}
		contents[name] = list
	}
	return contents, nil
}

// signVariable gives the content of a variable that has one certificate, as
// SetVariable takes it.
func signVariable(name, vendor string, cert *x509.Certificate, by Pair) ([]byte, error) {
	vendorGUID, err := gpt.ParseGUID(vendor)
	if err != nil {
		return nil, err
	}
	list, err := encodeList(cert)
	if err != nil {
		return nil, err
	}
	at := encodeTime(signedAt())
	toSign := encode(utf16.Encode([]rune(name)), vendorGUID, attributes, at, list)
	message, err := pkcs7.SignPKCS7(by.Signer, by.Cert, pkcs7.OIDData, toSign, pkcs7.NoAttr())
	if err != nil {
		return nil, err
	}
	// Firmware wants the SignedData without the ContentInfo around it.
	var info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(message, &info); err != nil {
		return nil, err
	}
	signed := info.Content.Bytes
	certType, err := gpt.ParseGUID(certPKCS7)
	if err != nil {
		return nil, err
	}
	head := authentication{at, uint32(sizeofAuthentication - sizeofTime + len(signed)), 0x0200, 0x0ef1, certType}
	return encode(head, signed, list), nil
}

func encodeList(cert *x509.Certificate) ([]byte, error) {
	certType, err := gpt.ParseGUID(certX509)
	if err != nil {
		return nil, err
	}
	owner, err := gpt.ParseGUID(Owner)
	if err != nil {
		return nil, err
	}
	size := uint32(len(cert.Raw))
	return encode(signatureList{certType, 28 + 16 + size, 0, 16 + size, owner}, cert.Raw), nil
}

func encodeTime(t time.Time) efiTime {
	return efiTime{
		Year: uint16(t.Year()), Month: uint8(t.Month()), Day: uint8(t.Day()),
		Hour: uint8(t.Hour()), Minute: uint8(t.Minute()), Second: uint8(t.Second()),
	}
}

// encode strings together values of fixed size.
func encode(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err) // a value without a fixed size: a programmer's error
		}
	}
	return b.Bytes()
}
