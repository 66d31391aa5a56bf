// Package source says which addresses count as one source of sign-ins.
package source

import "net/netip"

// Networks returns the network that counts as one source, and for IPv6 the
// wider one that a single customer may have. All unknown addresses are one
// source, the zero Prefix.
func Networks(addr netip.Addr) (narrow, wide netip.Prefix) {
	addr = addr.Unmap().WithZone("")
	switch {
	case addr.Is4():
		narrow, _ = addr.Prefix(32)
	case addr.Is6():
		narrow, _ = addr.Prefix(64)
		wide, _ = addr.Prefix(48)
	}
	return narrow, wide
}
