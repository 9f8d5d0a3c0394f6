package luks2

import (
	"crypto/aes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	bigendian "encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/pbkdf2"
	"golang.org/x/crypto/xts"
)

const (
	slotSector = 512 // of the areas' encryption
	splitSize  = keySize * stripes
	areaSize   = (splitSize + areaAlign - 1) / areaAlign * areaAlign
)

func hashFunc(name string) (func() hash.Hash, error) {
	switch name {
	case "sha256":
		return sha256.New, nil
	case "sha512":
		return sha512.New, nil
	}
	return nil, fmt.Errorf("hash %q, expected sha256 or sha512", name)
}

func (k kdf) check() error {
	switch k.Type {
	case "pbkdf2":
		if k.Iterations < 1 || k.Iterations > maxIterations {
			return fmt.Errorf("pbkdf2 with %d iterations", k.Iterations)
		}
		_, err := hashFunc(k.Hash)
		return err
	case "argon2id":
		if k.Time < 1 || k.Time > maxIterations || k.MemoryKiB < 8 || k.MemoryKiB > maxMemoryKiB || k.CPUs < 1 || k.CPUs > 255 {
			return fmt.Errorf("argon2id with time %d, memory %d KiB, %d threads", k.Time, k.MemoryKiB, k.CPUs)
		}
		return nil
	}
	return fmt.Errorf("key derivation %q, expected pbkdf2 or argon2id", k.Type)
}

// derive makes the area's key of a passphrase.
func (k kdf) derive(passphrase []byte) ([]byte, error) {
	if k.Type == "argon2id" {
		return argon2.IDKey(passphrase, k.Salt, uint32(k.Time), uint32(k.MemoryKiB), uint8(k.CPUs), keySize), nil
	}
	return pbkdf2Key(k.Hash, passphrase, k.Salt, k.Iterations, keySize)
}

func pbkdf2Key(name string, secret, salt []byte, iterations, size int) ([]byte, error) {
	h, err := hashFunc(name)
	if err != nil {
		return nil, err
	}
	// Not the standard library's, which takes a string: that could not be wiped.
	return pbkdf2.Key(secret, salt, iterations, size, h), nil
}

// check tells whether a volume key is the right one.
func (d digest) check(key []byte) (bool, error) {
	got, err := pbkdf2Key(d.Hash, key, d.Salt, d.Iterations, len(d.Digest))
	return err == nil && subtle.ConstantTimeCompare(got, d.Digest) == 1, err
}

// seal makes the content of a slot's area: the split volume key, encrypted.
func (k keyslot) seal(volumeKey, passphrase []byte) ([]byte, error) {
	split, err := split(volumeKey, k.AF.Hash)
	if err != nil {
		return nil, err
	}
	content := make([]byte, areaSize)
	copy(content, split)
	clear(split)
	return content, k.transform(content, passphrase, (*xts.Cipher).Encrypt)
}

// open gets the volume key out of an area's content, which it spoils. Only the
// digest tells whether it is the right one.
func (k keyslot) open(content, passphrase []byte) ([]byte, error) {
	defer clear(content)
	if err := k.transform(content, passphrase, (*xts.Cipher).Decrypt); err != nil {
		return nil, err
	}
	return merge(content[:splitSize], k.AF.Hash)
}

// transform encrypts or decrypts the split key in place.
func (k keyslot) transform(content, passphrase []byte, sector func(c *xts.Cipher, to, from []byte, number uint64)) error {
	key, err := k.KDF.derive(passphrase)
	if err != nil {
		return err
	}
	defer clear(key)
	c, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		return err
	}
	for at := 0; at < splitSize; at += slotSector {
		b := content[at : at+slotSector]
		sector(c, b, b, uint64(at/slotSector))
	}
	return nil
}

// split spreads a key over stripes: random ones, and a last one from which,
// with all the others, the key follows.
func split(key []byte, hashName string) ([]byte, error) {
	h, err := hashFunc(hashName)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(key)*stripes)
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	last := out[len(key)*(stripes-1):]
	state := gather(out[:len(out)-len(key)], len(key), h())
	subtle.XORBytes(last, state, key)
	clear(state)
	return out, nil
}

func merge(content []byte, hashName string) ([]byte, error) {
	h, err := hashFunc(hashName)
	if err != nil {
		return nil, err
	}
	size := len(content) / stripes
	key := gather(content[:len(content)-size], size, h())
	subtle.XORBytes(key, key, content[len(content)-size:])
	return key, nil
}

// gather folds all stripes but the last.
func gather(content []byte, size int, h hash.Hash) []byte {
	state := make([]byte, size)
	for ; len(content) > 0; content = content[size:] {
		subtle.XORBytes(state, state, content[:size])
		diffuse(state, h)
	}
	return state
}

// diffuse hashes each part of the state, of the hash's size, with its number.
func diffuse(state []byte, h hash.Hash) {
	sum := make([]byte, 0, h.Size())
	for i := 0; i*h.Size() < len(state); i++ {
		part := state[i*h.Size() : min((i+1)*h.Size(), len(state))]
		h.Reset()
		var number [4]byte
		bigendian.BigEndian.PutUint32(number[:], uint32(i))
		h.Write(number[:])
		h.Write(part)
		sum = h.Sum(sum[:0])
		copy(part, sum)
	}
	clear(sum[:cap(sum)])
}
