// Package sealed tests in booted machines what a TPM gives a sealed secret away to.
package sealed

// Mark starts a line on the console that the test reads.
const Mark = "SEALED"

// Token is the fw_cfg entry that hands a token to a machine, TokenFile where it
// finds it.
const (
	Token     = "opt/holdfast/token"
	TokenFile = "/sys/firmware/qemu_fw_cfg/by_name/opt/holdfast/token/raw"
)

// Verdict is how an attempt to unseal went.
type Verdict struct {
	Opened bool   `json:"opened"`
	PCR    int    `json:"pcr,omitempty"` // the register that changed
	Text   string `json:"text,omitempty"`
	TookMs int64  `json:"tookMs"`
}
