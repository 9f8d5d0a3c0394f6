// Package seal keeps a secret in a TPM 2.0 that gives it away only to a boot that the policy key has signed, under the same Secure Boot keys.
//
// What is sealed is an object below the storage root key (SRK), whose policy is
//
//	TPM2_PolicyAuthorize(policy key)   a signed policy holds: of PCR 11, that is of the UKI and the phase
//	TPM2_PolicyPCR(sha256, PCR 7)      Secure Boot's state and keys are those of the sealing
//
// PCR 11 alone would prove nothing: whoever starts a program of their own can
// extend it as they like. PCR 7 says that firmware would not have started it.
//
// Sealed is kept as the token "systemd-tpm2" of a LUKS2 volume, as
// systemd-cryptenroll 257 writes it, with two members more:
//
//	holdfast-pcr7  value of PCR 7 at the sealing, hexadecimal
//	holdfast-ek    name of the endorsement key, hexadecimal
//
// They open nothing; they tell what changed when the TPM refuses.
//
// # Decisions
//
// Every session that carries the secret is salted with the SRK, whose name was
// remembered at the sealing, and encrypts it: who listens on the bus between TPM
// and processor learns nothing, and who answers in the TPM's place is found out.
//
// The SRK is the ECC P-256 one at handle 0x81000001, made with systemd's
// template. One that is there is taken as it is. When it is gone, it is made
// again: on the same TPM, not cleared since, it is the same key.
//
// The endorsement key survives TPM2_Clear and the SRK does not; so a cleared TPM
// is told from another one.
//
// The bank is sha256, which every TPM 2.0 has. PolicyAuthorize binds the hash of
// a signature to that of the key's name, so one signed for another bank with
// another hash would need a key with another name.
package seal
