package main

import (
	"errors"
	"time"
)

// networkFaults are those of what is between the replicas and a server.
func networkFaults() []*fault {
	const up, down = "upstream", "downstream"
	swallows := map[string]int{"timeout": 0} // for ever
	return []*fault{
		toxicFault("network: 0.4 s of latency", toxic{Type: "latency", Stream: down, Attributes: map[string]int{"latency": 400, "jitter": 200}}),
		toxicFault("network: 3 s of latency", toxic{Type: "latency", Stream: up, Attributes: map[string]int{"latency": 3000}}),
		toxicFault("network: swallows both ways", toxic{Type: "timeout", Stream: up, Attributes: swallows}, toxic{Type: "timeout", Stream: down, Attributes: swallows}),
		toxicFault("network: swallows requests", toxic{Type: "timeout", Stream: up, Attributes: swallows}),
		toxicFault("network: swallows answers", toxic{Type: "timeout", Stream: down, Attributes: swallows}),
		toxicFault("network: resets connections", toxic{Type: "reset_peer", Stream: down, Attributes: map[string]int{"timeout": 0}}),
		toxicFault("network: cuts each connection after 3000 bytes", toxic{Type: "limit_data", Stream: down, Attributes: map[string]int{"bytes": 3000}}),
		toxicFault("network: 1 kB a second", toxic{Type: "bandwidth", Stream: down, Attributes: map[string]int{"rate": 1}}),
		toxicFault("network: a few bytes at a time", toxic{Type: "slicer", Stream: down, Attributes: map[string]int{"average_size": 8, "size_variation": 4, "delay": 200}}),
		{name: "network: all connections cut, once", overNetworks: func(networks []*network) (func() error, error) {
			for _, n := range networks {
				n.down()
				if err := n.up(); err != nil {
					return nil, err
				}
			}
			return func() error { return nil }, nil
		}},
		{name: "network: refuses connections", lasts: whileItLasts, overNetworks: func(networks []*network) (func() error, error) {
			for _, n := range networks {
				n.down()
			}
			return func() (err error) {
				for _, n := range networks {
					err = errors.Join(err, n.up())
				}
				return err
			}, nil
		}},
		{name: "network: all connections forgotten, once", overNetworks: func(networks []*network) (func() error, error) {
			for _, n := range networks {
				n.forget()
			}
			// A call that waits for an answer gives up after Options.Timeout.
			// Before that nothing tells a lost connection from a slow server.
			return func() error { time.Sleep(whileItLasts); return nil }, nil
		}},
	}
}

func toxicFault(name string, toxics ...toxic) *fault {
	return &fault{name: name, lasts: whileItLasts, overNetworks: func(networks []*network) (func() error, error) {
		for _, n := range networks {
			for _, t := range toxics {
				if err := n.add(t); err != nil {
					return nil, err
				}
			}
		}
		return func() error {
			for _, n := range networks {
				n.clear()
			}
			return nil
		}, nil
	}}
}
