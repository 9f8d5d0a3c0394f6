package keys

import (
	"crypto/sha256"
	"encoding/hex"
)

// ID names the set of certificates: what was enrolled or signed with other
// keys has another.
func (k *Keys) ID() string {
	h := sha256.New()
	for _, p := range []Pair{k.PK, k.KEK, k.DB} {
		h.Write(p.Cert.Raw)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
