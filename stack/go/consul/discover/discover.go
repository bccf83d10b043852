// Package discover stands in for HashiCorp's go-discover in the Consul that the stack builds. Consul uses that to find the
// servers to join by asking a cloud's API; the stack's only server joins no other, and the clients of fourteen clouds are half
// of what Consul's build downloads and compiles.
package discover

import (
	"fmt"
	"log"
)

// Provider finds the addresses of servers in one cloud.
type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers are those that Consul has when it is given none: no cloud is known here.
var Providers = map[string]Provider{}

// Discover asks a provider for addresses.
type Discover struct{}

// Option is what New takes.
type Option func(*Discover) error

// New makes a Discover that knows no cloud.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithUserAgent is accepted and ignored: no API is called.
func WithUserAgent(string) Option { return nil }

// WithProviders is accepted and ignored: no API is called.
func WithProviders(map[string]Provider) Option { return nil }

// Addrs refuses: an address that names a provider cannot be resolved here.
func (*Discover) Addrs(cfg string, _ *log.Logger) ([]string, error) {
	return nil, fmt.Errorf("the stack's Consul is built without cloud discovery: %s", cfg)
}

// Names are the clouds that are known: none.
func (*Discover) Names() []string { return nil }
