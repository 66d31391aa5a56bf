// Package network puts a proxy before a server. The proxy can delay, cut and drop
// connections and data.
package network

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A Network is a proxy between a replica and a server. It is a toxiproxy in front of a
// bridge.
type Network struct {
	proxy *toxiproxy.Proxy
	*bridge
}

// New returns a [Network] before a server. Kind and address are the arguments of
// [net.Dial].
func New(tb testing.TB, kind, address string) *Network {
	tb.Helper()
	b := newBridge(tb, kind, address)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log through the global logger
	quiet := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &Network{toxiproxy.NewProxy(quiet, "torture", "127.0.0.1:0", b.address()), b}
	if err := n.proxy.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.proxy.Stop)
	return n
}

// Entrance returns the TCP address to which a replica connects.
func (n *Network) Entrance() string { return n.proxy.Listen }

// A Toxic is a fault of a network, in the format of toxiproxy.
type Toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream or downstream
	Attributes map[string]int `json:"attributes"`
}

// Add adds a fault. It lasts until [Network.Clear].
func (n *Network) Add(t Toxic) error {
	text, err := json.Marshal(t)
	if err == nil {
		_, err = n.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	}
	return err
}

// Clear removes all faults that [Network.Add] added.
func (n *Network) Clear() { n.proxy.Toxics.ResetToxics(context.Background()) }

// Down breaks all connections and refuses new ones until [Network.Up].
func (n *Network) Down() { n.proxy.Stop() }

// Up accepts connections again after [Network.Down].
func (n *Network) Up() error { return n.proxy.Start() }
