package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A view describes a Redis Cluster as one of its nodes sees it.
type view struct {
	self   string   // the node's ID
	has    string   // the node's configuration epoch and slots; empty if it has no slots
	owners []string // the IDs of all nodes that may have keys
	moving bool     // whether a slot is moving to or from this node
}

// newView parses the answers to CLUSTER INFO and CLUSTER NODES. It returns an
// error if a slot has no owner, because another node could then take over that
// slot, and change its keys before this node notices.
func newView(info, nodes string) (*view, error) {
	for _, line := range []string{"cluster_state:ok", "cluster_slots_assigned:16384"} {
		if !slices.Contains(strings.Fields(info), line) {
			return nil, fmt.Errorf("CLUSTER INFO does not contain %s, so some slots may have no owner", line)
		}
	}
	var v view
	for line := range strings.Lines(nodes) {
		// A line contains the ID, address, flags, master, ping, pong, epoch,
		// link, and slots.
		const id, flags, epoch, slots = 0, 2, 6, 8
		fields := strings.Fields(line)
		if len(fields) < slots {
			return nil, fmt.Errorf("CLUSTER NODES has a line with too few fields: %q", line)
		}
		is := strings.Split(fields[flags], ",")
		myself := slices.Contains(is, "myself")
		if myself {
			v.self = fields[id]
		}
		if !slices.Contains(is, "master") || len(fields) == slots {
			continue
		}
		if myself {
			v.has = fields[epoch] + " " + strings.Join(fields[slots:], " ")
			v.moving = strings.Contains(v.has, "[")
		}
		v.owners = append(v.owners, fields[id])
		for _, slot := range fields[slots:] {
			// [93->-ID] means that slot 93 is moving to the node with this ID.
			// That node may already have some of the keys.
			if _, to, ok := strings.Cut(slot, "->-"); ok {
				v.owners = append(v.owners, strings.TrimSuffix(to, "]"))
			}
		}
	}
	if v.self == "" {
		return nil, errors.New(`CLUSTER NODES has no "myself" entry`)
	}
	return &v, nil
}

// complete returns an error unless views contains the view of every master that
// has keys. The view of a server that is not in a cluster is nil.
//
// A master that has just replaced another one may change keys a moment before
// the other masters know of the replacement. The feed does not report these
// changes. At the next beat, the other masters know the new master, and the
// feed ends.
func complete(views []*view) error {
	var ids []string
	for _, v := range views {
		if v == nil {
			if len(views) != 1 {
				return fmt.Errorf("found %d masters, but not all of them are in a cluster", len(views))
			}
			return nil
		}
		ids = append(ids, v.self)
	}
	for _, v := range views {
		for _, owner := range v.owners {
			if !slices.Contains(ids, owner) {
				return fmt.Errorf("node %s of the cluster may have keys, but there is no connection to it", owner)
			}
		}
	}
	return nil
}
