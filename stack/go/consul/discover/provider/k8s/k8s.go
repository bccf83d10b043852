// Package k8s is where Consul expects the provider that go-discover leaves out of its list.
package k8s

import (
	"errors"
	"log"
)

// Provider finds no address.
type Provider struct{}

// Addrs refuses.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("the stack's Consul is built without cloud discovery")
}

// Help says why there is none.
func (*Provider) Help() string { return "built without cloud discovery" }
