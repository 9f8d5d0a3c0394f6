package luks2

import (
	"bytes"
	"crypto/rand"
	"fmt"
)

// A recovery key is a passphrase of 256 random bits for people to keep: as
// systemd-cryptenroll writes it, 64 digits in modhex, the 16 letters that are at
// the same place on most keyboards, in groups of eight with dashes between.
const (
	modhex     = "cbdefghijklnrtuv"
	groupSize  = 8
	recoveries = 64 // digits
)

// RecoveryToken marks a key slot whose passphrase is a recovery key.
const RecoveryToken = `{"type":"systemd-recovery","keyslots":[]}`

// NewRecoveryKey makes one. The caller wipes it.
func NewRecoveryKey() []byte {
	random := make([]byte, recoveries/2)
	defer clear(random)
	rand.Read(random)
	key := make([]byte, 0, recoveries+recoveries/groupSize-1)
	for i, b := range random {
		if i > 0 && 2*i%groupSize == 0 {
			key = append(key, '-')
		}
		key = append(key, modhex[b>>4], modhex[b&15])
	}
	return key
}

// ParseRecoveryKey takes what a person types, in any case, with the groups apart
// or not, and gives the passphrase. An error does not show the key. The caller
// wipes both.
func ParseRecoveryKey(typed []byte) ([]byte, error) {
	key := make([]byte, 0, recoveries+recoveries/groupSize-1)
	digits := 0
	for at, c := range bytes.TrimSpace(typed) {
		if c == '-' || c == ' ' {
			continue
		}
		c |= 0x20 // to lower case
		if bytes.IndexByte([]byte(modhex), c) < 0 {
			clear(key)
			return nil, fmt.Errorf("parse recovery key: character %d is none of %q", at+1, modhex)
		}
		if digits == recoveries {
			clear(key)
			return nil, fmt.Errorf("parse recovery key: more than %d characters", recoveries)
		}
		if digits > 0 && digits%groupSize == 0 {
			key = append(key, '-')
		}
		key = append(key, c)
		digits++
	}
	if digits < recoveries {
		clear(key)
		return nil, fmt.Errorf("parse recovery key: %d characters, expected %d", digits, recoveries)
	}
	return key, nil
}
