// Package source defines which addresses count as one source of sign-ins.
package source

import "net/netip"

// Networks returns the network that counts as one source: an IPv4 address, or
// an IPv6 /64. For IPv6 it also returns the wider /48, because one customer may
// have a whole /48. For the zero [netip.Addr], it returns the zero
// [netip.Prefix], so all unknown addresses count as one source.
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
