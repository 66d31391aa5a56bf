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

var _ tokenauth.ClientRevoker = (*Store)(nil)

// errMoved says that a key may have been overlooked.
var errMoved = errors.New("redisstore: keys moved from one server to another meanwhile")

// RevokeClient implements tokenauth.ClientRevoker. It reads the names of all
// keys in Redis and asks for the client's token of each user: work for rare
// occasions, of some seconds for each million, that leaves room for others in
// between and ends with its context.
//
// Nobody can say where keys are that move meanwhile, for a fail-over or because
// slots of a cluster do: it returns an error then, for the host to call it
// again.
func (s *Store) RevokeClient(ctx context.Context, c tokenauth.ClientKey) error {
	_, err := await(ctx, func() (struct{}, error) {
		return struct{}{}, s.sweep(ctx, c)
	})
	return err
}

func (s *Store) sweep(ctx context.Context, c tokenauth.ClientKey) error {
	w := &sweep{Store: s, field: field(c)}
	defer w.close()
	before, err := w.connect(ctx)
	if err != nil {
		return err
	}
	for _, conn := range w.masters {
		if err := w.revoke(ctx, conn); err != nil {
			return err
		}
	}
	after, err := w.survey(ctx)
	if err == nil && !maps.Equal(before, after) {
		err = errMoved
	}
	return err
}

// A sweep empties the slots of all users at a client.
//
// Its connections are never made anew: a server that was started again has
// another order of keys, and would go on with a cursor from before as if it had
// not.
type sweep struct {
	*Store
	field   string
	masters map[string]rueidis.DedicatedClient // by their addresses
}

func (w *sweep) close() {
	for _, conn := range w.masters {
		conn.Close()
	}
}

// connect connects to all masters and returns what they have.
func (w *sweep) connect(ctx context.Context) (map[string]string, error) {
	w.masters = make(map[string]rueidis.DedicatedClient)
	for address, node := range w.client.Nodes() {
		w.masters[address], _ = node.Dedicate() // close releases it
	}
	return w.survey(ctx)
}

// survey returns what each of the masters has, and an error unless that is all.
// It forgets who is none.
func (w *sweep) survey(ctx context.Context) (map[string]string, error) {
	if w.client.Mode() == rueidis.ClientModeCluster {
		return w.surveyCluster(ctx)
	}
	has := make(map[string]string)
	for address, conn := range w.masters {
		// Only a master takes this, and there is nobody of that key.
		nobody := w.key(tokenauth.UserKey{})
		if err := conn.Do(ctx, conn.B().Hdel().Key(nobody).Field(w.field).Build()).Error(); err != nil {
			return nil, err
		}
		has[address] = "all"
	}
	if !slices.Equal(addressesOf(w.client.Nodes()), slices.Sorted(maps.Keys(has))) {
		return nil, errMoved // Sentinel has told of another master
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
			failed = errors.Join(failed, fmt.Errorf("redisstore: %s: %w", address, err)) // of a replica, it may be
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
		return nil, errors.Join(errors.New("redisstore: there is no master"), failed)
	}
	if err := complete(views); err != nil {
		return nil, errors.Join(fmt.Errorf("redisstore: %w", err), failed)
	}
	return has, nil
}

// revoke empties the slots of those users who are on one master.
func (w *sweep) revoke(ctx context.Context, conn rueidis.DedicatedClient) error {
	const batch = 1000
	pattern := globEscaper.Replace(w.prefix) + "*"
	for cursor := uint64(0); ; {
		entry, err := conn.Do(ctx, conn.B().Scan().Cursor(cursor).Match(pattern).Count(batch).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		var commands rueidis.Commands
		for _, name := range entry.Elements {
			if _, ok := userOf(name, w.prefix); ok {
				commands = append(commands, conn.B().Hdel().Key(name).Field(w.field).Build())
			}
		}
		for _, answer := range conn.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		if cursor = entry.Cursor; cursor == 0 {
			return nil
		}
	}
}

// globEscaper quotes what means something in the pattern of a SCAN.
var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
