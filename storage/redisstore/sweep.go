package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// errMoved means that a sweep may have missed keys that moved to another server.
var errMoved = errors.New("redisstore: keys may have moved to another server in the meantime; call it again")

// sweep calls do with the keys of all users that have tokens, in batches, and
// with the connection to the master that has them. If do returns an error, sweep
// stops.
func (s *Store) sweep(ctx context.Context, do func(rueidis.DedicatedClient, []tokenauth.UserKey) error) error {
	_, err := await(ctx, func() (struct{}, error) {
		w := &sweep{Store: s, do: do}
		defer w.close()
		return struct{}{}, w.run(ctx)
	})
	return err
}

// A sweep is one call of [Store.sweep].
//
// It never reconnects, because a restarted server may keep its keys in a
// different order. Such a server would still accept the cursor of an earlier
// SCAN, so the scan could skip keys.
type sweep struct {
	*Store
	do      func(rueidis.DedicatedClient, []tokenauth.UserKey) error
	masters map[string]rueidis.DedicatedClient // by address
}

func (w *sweep) run(ctx context.Context) error {
	before, err := w.connect(ctx)
	if err != nil {
		return err
	}
	for _, conn := range w.masters {
		if err := w.scan(ctx, conn); err != nil {
			return err
		}
	}
	after, err := w.survey(ctx)
	if err == nil && !maps.Equal(before, after) {
		err = errMoved
	}
	return err
}

func (w *sweep) close() {
	for _, conn := range w.masters {
		conn.Close()
	}
}

// connect connects to all nodes, and returns the result of survey.
func (w *sweep) connect(ctx context.Context) (map[string]string, error) {
	w.masters = make(map[string]rueidis.DedicatedClient)
	for address, node := range w.client.Nodes() {
		w.masters[address], _ = node.Dedicate() // close releases it
	}
	return w.survey(ctx)
}

// survey returns a map from the address of each master to a description of its
// keys: view.has on a cluster, and otherwise "all". It returns an error unless
// the masters together have all keys. On a cluster, it also closes the
// connections to nodes without slots, and removes them from w.masters.
func (w *sweep) survey(ctx context.Context) (map[string]string, error) {
	if w.client.Mode() == rueidis.ClientModeCluster {
		return w.surveyCluster(ctx)
	}
	has := make(map[string]string)
	for address, conn := range w.masters {
		// This HDEL fails unless the server is a master. On a master it changes
		// nothing, because no user has the key zero.
		nobody := w.key(tokenauth.UserKey{})
		if err := conn.Do(ctx, conn.B().Hdel().Key(nobody).Field(beatField).Build()).Error(); err != nil {
			return nil, err
		}
		has[address] = "all"
	}
	if !slices.Equal(addressesOf(w.client.Nodes()), slices.Sorted(maps.Keys(has))) {
		return nil, errMoved // the client has switched to another master
	}
	return has, nil
}

func (w *sweep) surveyCluster(ctx context.Context) (map[string]string, error) {
	has := make(map[string]string)
	var views []*view
	var failed error
	for address, conn := range w.masters {
		answers := conn.DoMulti(ctx, conn.B().ClusterInfo().Build(), conn.B().ClusterNodes().Build())
		v, err := readView(answers[0], answers[1])
		switch {
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("redisstore: %s: %w", address, err)) // perhaps a replica; the function complete detects a missing master
		case v.moving:
			return nil, errMoved
		case v.has != "":
			views, has[address] = append(views, v), v.has
			continue
		}
		conn.Close()
		delete(w.masters, address)
	}
	if len(views) == 0 {
		return nil, errors.Join(errors.New("redisstore: found no master with slots in the cluster"), failed)
	}
	if err := complete(views); err != nil {
		return nil, errors.Join(fmt.Errorf("redisstore: %w", err), failed)
	}
	return has, nil
}

// scan calls w.do for all users on one master. It omits heartbeats.
func (w *sweep) scan(ctx context.Context, conn rueidis.DedicatedClient) error {
	const batch = 1000
	pattern := globEscaper.Replace(w.prefix) + "*"
	for cursor := uint64(0); ; {
		entry, err := conn.Do(ctx, conn.B().Scan().Cursor(cursor).Match(pattern).Count(batch).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		var users []tokenauth.UserKey
		for _, name := range entry.Elements {
			if u, ok := userOf(name, w.prefix); ok && !isBeat(name) {
				users = append(users, u)
			}
		}
		if err := w.do(conn, users); err != nil {
			return err
		}
		if cursor = entry.Cursor; cursor == 0 {
			return nil
		}
	}
}

// each reads the hashes of users over a connection, and calls do for each field.
func (s *Store) each(ctx context.Context, conn rueidis.DedicatedClient, users []tokenauth.UserKey, do func(u tokenauth.UserKey, field, value string)) error {
	commands := make(rueidis.Commands, len(users))
	for i, u := range users {
		commands[i] = conn.B().Hgetall().Key(s.key(u)).Build()
	}
	for i, answer := range conn.DoMulti(ctx, commands...) {
		values, err := answer.AsStrMap()
		if err != nil {
			return err
		}
		for field, value := range values {
			do(users[i], field, value)
		}
	}
	return nil
}

// globEscaper escapes the special characters of a SCAN pattern.
var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
