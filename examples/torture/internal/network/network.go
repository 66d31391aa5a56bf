// Package network is a way to a server that can delay, cut and swallow.
package network

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A Network is what is between a replica and a server: a proxy that can be told
// to do it badly, and a bridge.
type Network struct {
	proxy *toxiproxy.Proxy
	*bridge
}

// New returns a network that leads to where a server listens.
func New(tb testing.TB, kind, address string) *Network {
	tb.Helper()
	b := newBridge(tb, kind, address)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics have a logger of their own
	quiet := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &Network{toxiproxy.NewProxy(quiet, "torture", "127.0.0.1:0", b.address()), b}
	if err := n.proxy.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.proxy.Stop)
	return n
}

// Entrance is where a replica has to connect to.
func (n *Network) Entrance() string { return n.proxy.Listen }

// A Toxic is what a network does badly, in the words of toxiproxy.
type Toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream or downstream
	Attributes map[string]int `json:"attributes"`
}

// Add makes the network bad, until clear.
func (n *Network) Add(t Toxic) error {
	text, err := json.Marshal(t)
	if err == nil {
		_, err = n.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	}
	return err
}

// Clear makes it good.
func (n *Network) Clear() { n.proxy.Toxics.ResetToxics(context.Background()) }

// Down breaks all connections and refuses others, until up.
func (n *Network) Down() { n.proxy.Stop() }

func (n *Network) Up() error { return n.proxy.Start() }
