// Package pcrsig is the section .pcrsig of a UKI: TPM policies that name values of PCR 11, signed by the policy key.
//
// A secret that is sealed to a key's signature (TPM2_PolicyAuthorize) is given
// away in whatever state that key has signed; so a new UKI brings the signature
// of its own state. The section is JSON, as systemd-measure 257 writes it:
//
//	{"sha256":[{"pcrs":[11],"pkfp":"…","pol":"…","sig":"…"}], "sha384":[…]}
//
//	key  what                                                       form
//	     the bank whose registers are meant                         sha256, sha384
//	pcrs the registers                                              numbers
//	pkfp SHA-256 of the policy key's RSAPublicKey (PKCS #1) in DER  hexadecimal
//	pol  the policy: its digest after one TPM2_PolicyPCR            hexadecimal
//	sig  RSASSA-PKCS1-v1_5 over the policy, with the bank's hash    base64
//
// A policy's digest (TPM 2.0 Library, part 3, 23.7), big endian:
//
//	pol = SHA-256( 32 zeros ‖ u32 TPM_CC_PolicyPCR ‖ selection ‖ SHA-256(values of the registers) )
//	selection = u32 1 ‖ u16 algorithm of the bank ‖ u8 3 ‖ 3 bytes, a bit for each register
//
// The stub hands the section over in the initrd as File; that of .pcrpkey, the
// public key in PEM, as KeyFile.
//
// # Decisions
//
// Only the phase enter-initrd is signed: what was sealed can't be had any more
// once the initrd is left.
//
// This package does not link crypto/x509, because PID 1 reads these formats.
package pcrsig
