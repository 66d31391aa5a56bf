package tokenauth

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// A keyring has what only API keys need. Its methods that take a key as a client sent
// it may be called if the keyring is nil.
type keyring struct {
	*KeyOptions
	isToken  func(text string) bool // whether a string has the form of a token of a sign-in
	renamer  Renamer                // nil if the storage is not one
	uses     *useLog                // may be that of the sign-ins
	renewals renewals
}

// newKeyring returns a keyring, or nil without [Options.Keys]. The argument uses is the
// useLog of the sign-ins, or nil.
func newKeyring(s Storage, o *Options, uses *useLog, timeout *deadline.Timeout, changed func()) *keyring {
	if o.Keys == nil {
		return nil
	}
	k := &keyring{KeyOptions: o.Keys, uses: uses, isToken: func(text string) bool {
		_, ok := accesstoken.Digest(o.Prefix, text)
		return ok || o.Refresh != nil && strings.HasPrefix(text, o.Refresh.Prefix)
	}}
	k.renamer, _ = s.(Renamer)
	if uses == nil {
		k.uses = makeUseLog(s.(UseRecorder), o, timeout, changed)
	}
	return k
}

// has reports whether a string has the form of a key, except for its checksum, or may
// be an imported key.
func (k *keyring) has(text string) bool {
	return k != nil && (accesstoken.IsKey(k.Prefix, text) || k.isImported(text))
}

// claims reports whether a string has the form of a key, or begins like one and does not
// have the form of a token of a sign-in.
func (k *keyring) claims(text string) bool {
	return k.has(text) || k != nil && !k.isToken(text) && (strings.HasPrefix(text, k.Prefix) || k.hasImportedPrefix(text))
}

// digest returns the digest of a string for which has is true.
func (k *keyring) digest(text string) (d Digest, ok bool) {
	if k == nil {
		return d, false
	}
	if sum, ok := accesstoken.DigestKey(k.Prefix, text); ok {
		return sum, true
	}
	if k.isImported(text) {
		return sha256.Sum256([]byte(text)), true
	}
	return d, false
}

// parse returns the place of a key with the digest. It reports false for a string that
// this Service cannot have returned as a key.
func (k *keyring) parse(text string, digest Digest) (ref keyRef, ok bool) {
	key, ok := accesstoken.ParseKey(k.Prefix, text)
	if !ok {
		return ref, false
	}
	return keyRef{slotOfKey(key.User, key.ID), Slot{key.User, ownerClient}, digest}, true
}

// renewals shares the work of renewing the records of owners. A caller gets the result
// of a renewal that began after the call, so that it sees every earlier change.
type renewals struct {
	mu      sync.Mutex
	running map[ownerName]*renewal
}

// An ownerName identifies an owner. Keys may know their owner by an earlier name.
type ownerName struct{ userID, userName string }

// A renewal is in progress, or begins when the one before it ends.
type renewal struct {
	next  *renewal // nil if no caller waits for one
	done  chan struct{}
	owner *Token
	err   error
}

const renewingOwner = "looking up the owner of a key"

// do returns the result of renew. It waits until the context ends, and at most for the
// timeout. Half of that is for the renewal before it. The func renew runs in a goroutine of its own, also if all callers stop waiting.
func (r *renewals) do(ctx context.Context, of ownerName, timeout time.Duration, renew func(context.Context) (*Token, error)) (*Token, error) {
	mine, before, leads := r.enter(of)
	if leads {
		go func() {
			if before != nil {
				r.takeOver(of, mine, before, timeout/2)
			}
			defer r.leave(of, mine)
			mine.owner, mine.err = renew(context.WithoutCancel(ctx))
		}()
	}
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-mine.done:
		return mine.owner, mine.err
	case <-ctx.Done():
		return nil, unavailable(renewingOwner, ctx.Err())
	case <-late.C:
		return nil, unavailable(renewingOwner, context.DeadlineExceeded)
	}
}

// enter returns a renewal that has not begun. If leads is true, the caller must run it
// when the one before it has ended, if there is one.
func (r *renewals) enter(of ownerName) (mine, before *renewal, leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.running[of]
	if before != nil && before.next != nil {
		return before.next, nil, false
	}
	mine = &renewal{done: make(chan struct{})}
	if before != nil {
		before.next = mine
		return mine, before, true
	}
	if r.running == nil {
		r.running = make(map[ownerName]*renewal)
	}
	r.running[of] = mine
	return mine, nil, true
}

// takeOver returns when the renewal before mine has ended. If that takes longer than the
// timeout, because the host's code ignores its context, mine begins nevertheless.
func (r *renewals) takeOver(of ownerName, mine, before *renewal, timeout time.Duration) {
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-before.done:
	case <-late.C:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.running[of] == before {
			r.running[of] = mine
		}
	}
}

// leave ends a renewal, and lets the next one begin.
func (r *renewals) leave(of ownerName, ended *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.running[of] != ended: // it was late
	case ended.next != nil:
		r.running[of] = ended.next
	default:
		delete(r.running, of)
	}
	close(ended.done)
}

// isImported reports whether a string may be an imported key: it is not a key or token of
// the Service's own form.
func (k *keyring) isImported(text string) bool {
	if k == nil || len(k.Imported) == 0 || text == "" || len(text) > maxImported || accesstoken.IsKey(k.Prefix, text) || k.isToken(text) {
		return false
	}
	return k.hasImportedPrefix(text)
}

func (k *keyring) hasImportedPrefix(text string) bool {
	return slices.ContainsFunc(k.Imported, func(prefix string) bool { return strings.HasPrefix(text, prefix) })
}
