package main

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A network is what is between a replica and a server: a proxy that can be told
// to do it badly, and a bridge.
type network struct {
	proxy *toxiproxy.Proxy
	*bridge
}

// newNetwork returns a network that leads to where a server listens.
func newNetwork(tb testing.TB, kind, address string) *network {
	tb.Helper()
	b := newBridge(tb, kind, address)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics have a logger of their own
	quiet := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{toxiproxy.NewProxy(quiet, "torture", "127.0.0.1:0", b.address()), b}
	if err := n.proxy.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.proxy.Stop)
	return n
}

// entrance is where a replica has to connect to.
func (n *network) entrance() string { return n.proxy.Listen }

// A toxic is what a network does badly, in the words of toxiproxy.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream or downstream
	Attributes map[string]int `json:"attributes"`
}

// add makes the network bad, until clear.
func (n *network) add(t toxic) error {
	text, err := json.Marshal(t)
	if err == nil {
		_, err = n.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	}
	return err
}

// clear makes it good.
func (n *network) clear() { n.proxy.Toxics.ResetToxics(context.Background()) }

// down breaks all connections and refuses others, until up.
func (n *network) down() { n.proxy.Stop() }

func (n *network) up() error { return n.proxy.Start() }
