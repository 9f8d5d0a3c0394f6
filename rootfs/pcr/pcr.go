package pcr

import (
	"crypto"
	_ "crypto/sha256" // the banks' algorithms
	_ "crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Registers that a release determines.
const (
	Programs   = 4
	SecureBoot = 7
	Kernel     = 11 // the UKI's sections and the phases of its boot
)

// Banks are those that are predicted, by the names that systemd and the kernel
// give them.
func Banks() map[string]crypto.Hash {
	return map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384}
}

// Prediction is the content of pcrs.json.
type Prediction struct {
	Version string     `json:"version"` // of the release
	PCRs    []Register `json:"pcrs"`
}

// Register is what is extended into one register, in order.
type Register struct {
	Index  int     `json:"pcr"`
	Events []Event `json:"events"`
}

// Event is one extension.
type Event struct {
	What string `json:"what"`
	// Phase is the path of the boot's phases so far, such as
	// "enter-initrd:leave-initrd"; empty before the first.
	Phase string                 `json:"phase,omitempty"`
	Banks map[string]Measurement `json:"banks"`
}

// Measurement is an event in one bank.
type Measurement struct {
	Digest Hex `json:"digest"`
	Value  Hex `json:"value"` // of the register after the event
}

// Hex is bytes that are hexadecimal in JSON.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Parse reads pcrs.json, and checks that its values follow from its digests.
func Parse(data []byte) (*Prediction, error) {
	p := &Prediction{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("parse predicted PCRs: %w", err)
	}
	for _, r := range p.PCRs {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("parse predicted PCRs: %w", err)
		}
	}
	return p, nil
}

// Encode renders the prediction as it stands in its file.
func (p *Prediction) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(p, "", "  ")
	return append(data, '\n'), err
}

// Register finds a register.
func (p *Prediction) Register(index int) (Register, error) {
	i := slices.IndexFunc(p.PCRs, func(r Register) bool { return r.Index == index })
	if i < 0 {
		return Register{}, fmt.Errorf("PCR %d is not predicted", index)
	}
	return p.PCRs[i], nil
}

// Value is what the register holds in a bank at the end of the path of phases
// that phase is; the empty one ends before the first phase.
func (r Register) Value(bank, phase string) ([]byte, error) {
	for _, e := range slices.Backward(r.Events) {
		if m, ok := e.Banks[bank]; ok && e.Phase == phase {
			return m.Value, nil
		}
	}
	return nil, fmt.Errorf("PCR %d, bank %s, phase %q is not predicted", r.Index, bank, phase)
}

// extend appends an event.
func (r *Register) extend(what string, digest func(crypto.Hash) []byte) {
	e := Event{What: what, Banks: map[string]Measurement{}}
	for name, h := range Banks() {
		d := digest(h)
		e.Banks[name] = Measurement{d, Extend(h, r.last(name, h), d)}
	}
	r.Events = append(r.Events, e)
}

// extendData appends an event whose digest is that of data.
func (r *Register) extendData(what string, data []byte) {
	r.extend(what, func(h crypto.Hash) []byte { return sum(h, data) })
}

// last is the value after the events so far.
func (r *Register) last(bank string, h crypto.Hash) []byte {
	if len(r.Events) == 0 {
		return make([]byte, h.Size())
	}
	return r.Events[len(r.Events)-1].Banks[bank].Value
}

func (r *Register) check() error {
	seen := Register{Index: r.Index}
	for i, e := range r.Events {
		for name, h := range Banks() {
			m := e.Banks[name]
			if want := Extend(h, seen.last(name, h), m.Digest); len(m.Digest) != h.Size() || !slices.Equal(want, m.Value) {
				return fmt.Errorf("PCR %d, event %d (%s): its %s value does not follow from its digest", r.Index, i, e.What, name)
			}
		}
		seen.Events = r.Events[:i+1]
	}
	return nil
}

// Extend is the TPM's operation: the new value of a register.
func Extend(h crypto.Hash, value, digest []byte) []byte {
	return sum(h, value, digest)
}

func sum(h crypto.Hash, parts ...[]byte) []byte {
	state := h.New()
	for _, p := range parts {
		state.Write(p)
	}
	return state.Sum(nil)
}
