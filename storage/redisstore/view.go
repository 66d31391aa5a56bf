package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A view is what a master of a Redis Cluster knows of the cluster.
type view struct {
	self   string   // its ID
	has    string   // its slots, behind the epoch since when it has them; empty if none
	owners []string // the IDs of those who may have keys
	moving bool     // whether keys of its slots are on their way
}

// newView reads the answers to CLUSTER INFO and CLUSTER NODES. It returns an
// error if a part of the keys belongs to nobody: whoever has it next might
// have it for a while before this master knew.
func newView(info, nodes string) (*view, error) {
	for _, line := range []string{"cluster_state:ok", "cluster_slots_assigned:16384"} {
		if !slices.Contains(strings.Fields(info), line) {
			return nil, fmt.Errorf("the cluster is not well: there is no %s", line)
		}
	}
	var v view
	for line := range strings.Lines(nodes) {
		// The ID, address, flags, master, ping, pong, epoch, link, and slots.
		const id, flags, epoch, slots = 0, 2, 6, 8
		fields := strings.Fields(line)
		if len(fields) < slots {
			return nil, fmt.Errorf("a node of the cluster is described as %q", line)
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
			// [93->-ID] is a slot on its way to another, who has some of its
			// keys by now.
			if _, to, ok := strings.Cut(slot, "->-"); ok {
				v.owners = append(v.owners, strings.TrimSuffix(to, "]"))
			}
		}
	}
	if v.self == "" {
		return nil, errors.New("a node of the cluster does not know itself")
	}
	return &v, nil
}

// complete returns an error unless the masters, of whom these are the views, are
// all that there are. A view is nil for a server that is in no cluster.
//
// A master that has just taken over from another may have keys a moment before
// the others know. What it changed in that moment is not reported, but one beat
// later they know, and the feed ends.
func complete(views []*view) error {
	var ids []string
	for _, v := range views {
		if v == nil {
			if len(views) != 1 {
				return fmt.Errorf("there are %d masters, and not all are in a cluster", len(views))
			}
			return nil
		}
		ids = append(ids, v.self)
	}
	for _, v := range views {
		for _, owner := range v.owners {
			if !slices.Contains(ids, owner) {
				return fmt.Errorf("node %s of the cluster has keys, and there is no connection to it", owner)
			}
		}
	}
	return nil
}
