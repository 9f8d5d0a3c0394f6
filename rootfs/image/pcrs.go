package image

import (
	"crypto/x509"
	"fmt"

	"holdfast/rootfs/authenticode"
	"holdfast/rootfs/keys"
	"holdfast/rootfs/pcr"
)

// PCRs predicts the registers of a TPM that a release determines, from its
// signed programs and the keys that its firmware has enrolled.
func PCRs(version string, loader, uki []byte, k *keys.Keys) (*pcr.Prediction, error) {
	programs := []pcr.Program{{Name: "boot loader"}, {Name: "UKI"}}
	for i, image := range [][]byte{loader, uki} {
		if err := describe(&programs[i], image, k.DB.Cert); err != nil {
			return nil, fmt.Errorf("predict PCRs: %s: %w", programs[i].Name, err)
		}
	}
	contents, err := k.Variables()
	if err != nil {
		return nil, fmt.Errorf("predict PCRs: %w", err)
	}
	verified, err := pcr.Verified(pcr.Variables{PK: contents["PK"], KEK: contents["KEK"], DB: contents["db"]}, programs)
	if err != nil {
		return nil, err
	}
	kernel, err := pcr.UKI(uki)
	if err != nil {
		return nil, err
	}
	return &pcr.Prediction{Version: version, PCRs: []pcr.Register{pcr.Boot(programs), verified, kernel}}, nil
}

// describe fills in what firmware sees of a program.
func describe(p *pcr.Program, image []byte, cert *x509.Certificate) (err error) {
	if err := authenticode.Verify(image, cert); err != nil {
		return err
	}
	p.Cert = cert.Raw
	p.Digest, err = authenticode.Digest(image)
	return err
}
