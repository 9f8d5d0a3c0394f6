package nodeconfig

import (
	"holdfast/services/pki"
	"holdfast/services/schema"

	"go.yaml.in/yaml/v3"
)

// API is who may use the node's API.
type API struct {
	ClientBundle string // PEM; empty: nobody
}

func (r *reader) api(to *API) visit {
	return func(path string, n *yaml.Node) bool {
		return r.mapping(path, n, map[string]visit{"clientBundle": r.text(&to.ClientBundle, bundle)})
	}
}

func bundle(s string) error {
	if _, err := pki.ParseTrust([]byte(s)); err != nil {
		return &expectation{"what 'holdfast pki bundle' prints: authorities' certificates and revocation lists in PEM form",
			schema.Schema{Pattern: "-----BEGIN CERTIFICATE-----"}}
	}
	return nil
}
