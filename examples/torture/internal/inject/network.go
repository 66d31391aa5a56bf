package inject

import (
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
)

// networkFaults returns each [Fault] of the networks between the replicas and a server.
func networkFaults() []*Fault {
	const up, down = "upstream", "downstream"
	swallows := map[string]int{"timeout": 0} // until removed
	return []*Fault{
		toxicFault("network: 0.4 s of latency", network.Toxic{Type: "latency", Stream: down, Attributes: map[string]int{"latency": 400, "jitter": 200}}),
		toxicFault("network: 3 s of latency", network.Toxic{Type: "latency", Stream: up, Attributes: map[string]int{"latency": 3000}}),
		toxicFault("network: swallows both ways", network.Toxic{Type: "timeout", Stream: up, Attributes: swallows}, network.Toxic{Type: "timeout", Stream: down, Attributes: swallows}),
		toxicFault("network: swallows requests", network.Toxic{Type: "timeout", Stream: up, Attributes: swallows}),
		toxicFault("network: swallows answers", network.Toxic{Type: "timeout", Stream: down, Attributes: swallows}),
		toxicFault("network: resets connections", network.Toxic{Type: "reset_peer", Stream: down, Attributes: map[string]int{"timeout": 0}}),
		toxicFault("network: cuts each connection after 3000 bytes", network.Toxic{Type: "limit_data", Stream: down, Attributes: map[string]int{"bytes": 3000}}),
		toxicFault("network: 1 kB a second", network.Toxic{Type: "bandwidth", Stream: down, Attributes: map[string]int{"rate": 1}}),
		toxicFault("network: a few bytes at a time", network.Toxic{Type: "slicer", Stream: down, Attributes: map[string]int{"average_size": 8, "size_variation": 4, "delay": 200}}),
		{Name: "network: all connections cut, once", OverNetworks: func(networks []*network.Network) (func() error, error) {
			for _, n := range networks {
				n.Down()
				if err := n.Up(); err != nil {
					return nil, err
				}
			}
			return func() error { return nil }, nil
		}},
		{Name: "network: refuses connections", Lasts: whileItLasts, OverNetworks: func(networks []*network.Network) (func() error, error) {
			for _, n := range networks {
				n.Down()
			}
			return func() (err error) {
				for _, n := range networks {
					err = errors.Join(err, n.Up())
				}
				return err
			}, nil
		}},
		{Name: "network: all connections forgotten, once", OverNetworks: func(networks []*network.Network) (func() error, error) {
			for _, n := range networks {
				n.Forget()
			}
			// A call that waits for an answer fails after Options.Timeout. Until
			// then, the client cannot distinguish a lost connection from a slow server.
			return func() error { time.Sleep(whileItLasts); return nil }, nil
		}},
	}
}

func toxicFault(name string, toxics ...network.Toxic) *Fault {
	return &Fault{Name: name, Lasts: whileItLasts, OverNetworks: func(networks []*network.Network) (func() error, error) {
		for _, n := range networks {
			for _, t := range toxics {
				if err := n.Add(t); err != nil {
					return nil, err
				}
			}
		}
		return func() error {
			for _, n := range networks {
				n.Clear()
			}
			return nil
		}, nil
	}}
}
