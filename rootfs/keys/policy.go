package keys

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/rootfs/pcrsig"
)

// complete adds what is missing to a directory that has the three pairs.
func complete(dir string) error {
	if _, err := loadPairs(dir); err != nil {
		return err
	}
	if _, err := loadPolicy(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makePolicy(dir); err != nil {
		return fmt.Errorf("make key policy: %w", err)
	}
	_, err := Load(dir)
	return err
}

// makePolicy makes the policy key, and its public file, where they are missing.
func makePolicy(dir string) error {
	file := filepath.Join(dir, "policy.key")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		private, err := encodeKey(key)
		if err != nil {
			return err
		}
		if err := publish(dir, file, private, 0o600); err != nil {
			return err
		}
	}
	key, err := loadPrivate(file) // possibly that of someone who was faster
	if err != nil {
		return err
	}
	return publish(dir, filepath.Join(dir, "policy.pub"), pcrsig.EncodePublicKey(&key.PublicKey), 0o644)
}

// publish writes a file whole, unless there is one.
func publish(dir, file string, data []byte, mode fs.FileMode) error {
	fresh, err := os.MkdirTemp(dir, ".policy-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	whole := filepath.Join(fresh, "key")
	if err := writeFile(whole, data, mode); err != nil {
		return err
	}
	if err := os.Link(whole, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func loadPolicy(dir string) (crypto.Signer, error) {
	key, err := loadPrivate(filepath.Join(dir, "policy.key"))
	if err != nil {
		return nil, fmt.Errorf("load key policy: %w", err)
	}
	return key, nil
}
