package main

import (
	"context"
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/hack/cache"
	"holdfast/rootfs/image"
	"holdfast/rootfs/initrd"
	"holdfast/rootfs/pcrsig"
	"holdfast/rootfs/slot"
	"holdfast/rootfs/tree"
)

func (b *builder) makeUKI(context.Context) error {
	u, init, err := b.ukiParts()
	if err != nil {
		return err
	}
	unsigned := filepath.Join(b.out, "uki.unsigned.efi")
	key := cache.Key(string(u.Stub), string(u.Kernel), string(init), u.OSRelease, u.Cmdline, u.Release, string(u.PolicyKey))
	err = unlessMade(unsigned, key, func() error {
		if u.Initrd, err = initrd.Build(init); err != nil {
			return err
		}
		pe, err := u.Build()
		if err != nil {
			return err
		}
		return replace(unsigned, pe)
	})
	if err != nil {
		return err
	}
	pe, err := os.ReadFile(unsigned)
	if err != nil {
		return err
	}
	b.uki, err = b.signed(b.signedUKI(), pe, b.signer().SignUKI)
	return err
}

// ukiParts gives what the UKI is made of, and init for its initrd.
func (b *builder) ukiParts() (u image.UKI, init []byte, err error) {
	policyKey, isRSA := b.keys.Policy.Public().(*rsa.PublicKey)
	if !isRSA {
		return u, nil, fmt.Errorf("policy key: %T, expected an RSA key", b.keys.Policy.Public())
	}
	u = image.UKI{
		Release: b.kernel.Version, PolicyKey: pcrsig.EncodePublicKey(policyKey),
		OSRelease: tree.OSRelease(b.version), Cmdline: image.Cmdline(b.root.Hash, b.posture),
	}
	if u.Stub, err = b.tool("usr/lib/systemd/boot/efi/linuxx64.efi.stub"); err != nil {
		return u, nil, err
	}
	if u.Kernel, err = os.ReadFile(b.kernel.Image); err != nil {
		return u, nil, err
	}
	init, err = os.ReadFile(b.own["init"])
	return u, init, err
}

func (b *builder) signLoader(context.Context) error {
	loader, err := b.tool("usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	if err != nil {
		return err
	}
	b.loader, err = b.signed(filepath.Join(b.out, "loader.efi"), loader, b.signer().Sign)
	return err
}

// signed signs a program into a file. A signature carries its time; an
// unchanged program keeps the one it has.
func (b *builder) signed(file string, pe []byte, sign func([]byte) ([]byte, error)) ([]byte, error) {
	err := unlessMade(file, cache.Key(string(pe), string(b.keys.DB.Cert.Raw)), func() error {
		pe, err := sign(pe)
		if err != nil {
			return err
		}
		return replace(file, pe)
	})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func (b *builder) signedUKI() string {
	return filepath.Join(b.out, slot.Entry{Version: b.version}.FileName())
}

func (b *builder) signer() image.Signer {
	return image.Signer{Key: b.keys.DB.Signer, Cert: b.keys.DB.Cert, Policy: b.keys.Policy}
}

// predictPCRs says beside the manifest what a TPM will measure.
func (b *builder) predictPCRs(context.Context) error {
	p, err := image.PCRs(b.version, b.loader, b.uki, b.keys)
	if err != nil {
		return err
	}
	data, err := p.Encode()
	if err != nil {
		return err
	}
	return replace(filepath.Join(b.out, "pcrs.json"), data)
}
