package tokenauth

import (
	"context"
	"fmt"
	"net/http"
)

// A requiredRoles is a [context.Context] of a request with an API key. It carries the
// roles that a guard requires, for a stream that a later guard opens, and the stream that
// a guard opened, for the roles that a later guard requires.
type requiredRoles struct {
	context.Context
	key    Digest
	roles  []string       // nil if the guard requires none
	stream *stream        // that the guard opened, or nil
	outer  *requiredRoles // of the guard before, or nil
}

type requiredRolesKey struct{}

func (q *requiredRoles) Value(key any) any {
	if key == (requiredRolesKey{}) {
		return q
	}
	return q.Context.Value(key)
}

// Format writes the name of the type for every verb. The parents may have secrets of
// the host.
func (q *requiredRoles) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%T", q) }

// requiring returns the request with what a guard requires of an API key, and with the
// stream that it opened.
func requiring(r *http.Request, key Digest, roles []string, opened *stream) *http.Request {
	outer, _ := r.Context().Value(requiredRolesKey{}).(*requiredRoles)
	return r.WithContext(&requiredRoles{r.Context(), key, roles, opened, outer})
}

// openedFor returns the streams that the guards of a request opened for an API key.
func openedFor(ctx context.Context, key *Digest) (all []*stream) {
	q, _ := ctx.Value(requiredRolesKey{}).(*requiredRoles)
	for ; q != nil; q = q.outer {
		if q.stream != nil && equal(&q.key, key) {
			all = append(all, q.stream)
		}
	}
	return all
}

// requiredOf returns the lists of roles that the guards of a request require of an API
// key. The key needs a role of each list.
func requiredOf(ctx context.Context, key *Digest) (lists [][]string) {
	q, _ := ctx.Value(requiredRolesKey{}).(*requiredRoles)
	for ; q != nil; q = q.outer {
		if q.roles != nil && equal(&q.key, key) {
			lists = append(lists, q.roles)
		}
	}
	return lists
}
