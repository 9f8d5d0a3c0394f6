// Package pcr predicts what the registers of a TPM hold during a boot, from the bytes that are booted.
//
// A register (PCR) is only ever extended: value = H(value ‖ digest), from zeros
// on, in every bank, a bank being the registers of one hash algorithm H. What is
// predicted follows the TCG's PC Client Platform Firmware Profile 1.05, and
// systemd's boot loader, stub and phases, all of version 257:
//
//	PCR  extended with                                  digest of
//	4    firmware starts the boot option                "Calling EFI Application from Boot Option"
//	     separator                                      four zeros
//	     boot loader, then the UKI                      the program, as Authenticode hashes it
//	7    SecureBoot, PK, KEK, db, dbx                   UEFI_VARIABLE_DATA, see below
//	     separator                                      four zeros
//	     the db entry that verified a program, once     UEFI_VARIABLE_DATA with that entry
//	11   each measured section of the UKI, in order     its name with a NUL
//	                                                    its content
//	     each phase of the boot                         the word, without a NUL
//
// UEFI_VARIABLE_DATA, little endian:
//
//	offset size field
//	0      16   GUID of the variable's vendor
//	16     8    length of the name, in characters
//	24     8    length of the content, in bytes
//	32     2n   name, UTF-16, without a NUL
//	       m    content
//
// The build writes the prediction beside the manifest, as pcrs.json.
//
// # Decisions
//
// The prediction is a list of events, not of values only: whoever finds another
// value in a TPM can then say from its event log which event differs.
//
// PCR 4 and 7 are predicted for a machine with Secure Boot, whose firmware tries
// the disk first and has no dbr and dbt: then systemd-stub hands the kernel to
// the firmware past its checks, and so past its measurement (seen with OVMF).
// The other registers hold what a release does not determine.
package pcr
