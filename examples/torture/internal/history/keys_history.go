package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A keyHistory is the record of the concurrent calls of several workers, for the API
// keys of some users, at several replicas.
type keyHistory struct {
	plan
	max       int // [tokenauth.KeyOptions.Max]
	faulty    bool
	devices   bool // whether the replicas have [tokenauth.Options.Devices]
	replicas  []*tokenauth.Service
	keyrings  []*tokenauth.Keys // of the replicas
	directory *host.Directory
	began     time.Time

	mu         sync.Mutex
	signIns    []signedIn // of all users
	keys       []madeKey  // key n is keys[n-1]
	names      int        // how many names were given to keys
	operations []*keyOperation
	broken     []string // violations that were found while the history was made
}

// A madeKey is a key that a client received.
type madeKey struct {
	user  int
	text  string
	id    string
	roles bool // whether the key has the owner's role, while the owner has it
}

// A signedIn is the token of a sign-in that succeeded.
type signedIn struct {
	tokenauth.Token
	by *keyOperation
}

// A keyOperation is one call of a Service, of its Keys or of the host. Times are
// nanoseconds since the history began.
type keyOperation struct {
	kind            op.Kind
	worker, replica int
	user            int
	key             int // number of the key, from 1; 0 for none, or for all of the user's
	outcome         outcome
	call, answer    int64
	// version is the version of the user, as [host.Account.Changes] counts them: that
	// after a change, that of the sign-in which makes a key, or that with which a key
	// was valid.
	version int
	account host.Account   // after a change
	has     bool           // whether a valid key had the role
	name    int            // number of the name that a key gets
	slot    tokenauth.Slot // of the token that a sign-in got
	signIn  *keyOperation  // the sign-in that makes a key
	tooMany bool           // whether the user had too many keys to make another one
	byText  bool           // whether a key was revoked without its ID
	listed  map[string]int // numbers of the names of the listed keys, by ID
}

func (o *keyOperation) String() string {
	what := fmt.Sprintf("%v of user %d", o.kind, o.user)
	if o.key != 0 {
		what += fmt.Sprintf(" key %d", o.key)
	}
	if o.name != 0 {
		what += fmt.Sprintf(" name %d", o.name)
	}
	return fmt.Sprintf("%s at replica %d: %v", what, o.replica, o.outcome)
}

// run makes the history and returns its operations in the order of their calls. It
// rests a few times, to count the keys of each user.
func (h *keyHistory) run(ctx context.Context) []*keyOperation {
	h.began = time.Now()
	var rngs []*rand.Rand
	for worker := range h.workers {
		rngs = append(rngs, rand.New(rand.NewPCG(h.seed, uint64(worker))))
	}
	const parts = 3
	for range parts {
		each(h.workers, func(worker int) {
			for range h.perWorker / parts {
				h.act(ctx, rngs[worker], worker)
				if h.pause > 0 {
					time.Sleep(rand.N(h.pause))
				}
			}
		})
		h.rush(ctx, rngs)
		h.rest(ctx, rngs[0])
	}
	slices.SortFunc(h.operations, func(a, b *keyOperation) int { return int(a.call - b.call) })
	return h.operations
}

// A keyChance is to a keyHistory what a [chance] is to a history.
type keyChance struct {
	below int // of 100
	call  func(*keyHistory, context.Context, *rand.Rand, *keyOperation)
}

var keyMix = []keyChance{
	{14, (*keyHistory).create}, {60, (*keyHistory).validate}, {67, (*keyHistory).revoke}, {69, (*keyHistory).revokeAll},
	{76, (*keyHistory).rename}, {82, (*keyHistory).list}, {86, (*keyHistory).revokeUser}, {87, (*keyHistory).revokeClient},
	{91, (*keyHistory).signIn}, {100, (*keyHistory).change},
}

// act makes a random call.
func (h *keyHistory) act(ctx context.Context, rng *rand.Rand, worker int) {
	o := &keyOperation{worker: worker, replica: rng.IntN(len(h.replicas)), user: rng.IntN(h.users)}
	n := rng.IntN(100)
	h.mu.Lock()
	made := len(h.keys)
	h.mu.Unlock()
	const change, validation = 99, 50
	switch calm := rng.IntN(20); {
	case h.directory.Account(h.user(o.user)).Disabled && rng.IntN(4) == 0:
		n = change // so that no user is disabled for long
	case h.calm && made > 2*h.users && calm == 0:
		n = change // the feed must report it to the caches
	case h.calm && made > 2*h.users && calm > 1:
		n = validation
	}
	i := slices.IndexFunc(keyMix, func(c keyChance) bool { return n < c.below })
	keyMix[i].call(h, ctx, rng, o)
}

// do makes the call and records its outcome. The call may be refused with an error that
// wraps allowed, and with no other error.
func (h *keyHistory) do(o *keyOperation, k op.Kind, allowed error, call func(*tokenauth.Service, *tokenauth.Keys) error) {
	o.kind = k
	o.call = int64(time.Since(h.began))
	err := call(h.replicas[o.replica], h.keyrings[o.replica])
	o.answer = int64(time.Since(h.began))
	switch {
	case err == nil:
		o.outcome = done
	case errors.Is(err, tokenauth.ErrUnavailable):
		o.outcome = unknown
	case allowed != nil && errors.Is(err, allowed):
		o.outcome = refused
	default:
		o.outcome = unknown
		h.violate("%v: unexpected error %v", o, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

func (h *keyHistory) signIn(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	h.do(o, op.SignIn, tokenauth.ErrRejected, func(auth *tokenauth.Service, _ *tokenauth.Keys) error {
		user := h.user(o.user)
		c := tokenauth.Credentials{UserName: user, Password: tokenauth.NewSecret(user), ClientID: h.client(rng)}
		if h.devices {
			c.Device = deviceIDs[rng.IntN(len(deviceIDs))]
		}
		issued, err := auth.SignIn(ctx, c)
		if err == nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			o.slot = issued.Token.Slot
			h.signIns = append(h.signIns, signedIn{issued.Token, o})
		}
		return err
	})
}

// rush signs a user in. Then all workers make a key at the same time, so that
// they compete for the last keys that the user may have.
func (h *keyHistory) rush(ctx context.Context, rngs []*rand.Rand) {
	user := rngs[0].IntN(h.users)
	at := func(worker int) *keyOperation {
		return &keyOperation{worker: worker, replica: worker % len(h.replicas), user: user}
	}
	h.signIn(ctx, rngs[0], at(0))
	each(h.workers, func(worker int) { h.make(ctx, rngs[worker], at(worker)) })
}

// create makes a key for a sign-in, most of the time for a new one.
func (h *keyHistory) create(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	if rng.IntN(4) > 0 {
		h.signIn(ctx, rng, &keyOperation{worker: o.worker, replica: o.replica, user: o.user})
	}
	h.make(ctx, rng, o)
}

// make makes a key for the latest sign-in of the user.
func (h *keyHistory) make(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	owner, ok := h.lastSignIn(o.user)
	if !ok {
		return
	}
	o.version, o.signIn = versionOf(owner.Token), owner.by
	o.name = h.newName()
	wanted := tokenauth.Key{Name: fmt.Sprint("name ", o.name)}
	switch rng.IntN(4) {
	case 0:
		wanted.Roles = []string{}
	case 1, 2:
		wanted.Roles = owner.Principal.Roles
	}
	if rng.IntN(2) == 0 {
		wanted.ExpiresAt = time.Now().Add(24 * time.Hour)
	}
	h.do(o, op.CreateKey, tokenauth.ErrRejected, func(_ *tokenauth.Service, keys *tokenauth.Keys) error {
		secret, made, err := keys.Create(ctx, owner.Token, wanted)
		if o.tooMany = err == tokenauth.ErrTooManyKeys; o.tooMany {
			return tokenauth.ErrRejected
		}
		if err == nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.keys = append(h.keys, madeKey{o.user, secret.Reveal(), made.ID, wanted.Roles == nil || len(wanted.Roles) > 0})
			o.key = len(h.keys)
		}
		return err
	})
}

func (h *keyHistory) validate(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	k, ok := h.pick(rng, o)
	if !ok {
		return
	}
	h.do(o, op.ValidateKey, tokenauth.ErrInvalidToken, func(_ *tokenauth.Service, keys *tokenauth.Keys) error {
		t, err := keys.Validate(ctx, k.text)
		if err != nil {
			return err
		}
		o.version, o.has = versionOf(t), t.Principal.HasRole(host.Role)
		if t.Principal.UserID != h.user(o.user) || t.Key != k.id {
			h.violate("replica %d returned key %d as %q of %q", o.replica, o.key, t.Key, t.Principal.UserID)
		}
		return nil
	})
}

// revoke ends a key by its ID, as a user who sees a list, or by its text, as a client that has
// the key.
func (h *keyHistory) revoke(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	k, ok := h.pick(rng, o)
	if !ok {
		return
	}
	o.byText = rng.IntN(2) == 0
	h.do(o, op.RevokeKey, tokenauth.ErrNotFound, func(auth *tokenauth.Service, keys *tokenauth.Keys) error {
		if o.byText {
			return auth.Revoke(ctx, k.text)
		}
		return keys.Revoke(ctx, h.user(o.user), k.id)
	})
}

func (h *keyHistory) revokeAll(ctx context.Context, _ *rand.Rand, o *keyOperation) {
	h.do(o, op.RevokeKeys, nil, func(_ *tokenauth.Service, keys *tokenauth.Keys) error {
		return keys.RevokeAll(ctx, h.user(o.user))
	})
}

func (h *keyHistory) rename(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	k, ok := h.pick(rng, o)
	if !ok {
		return
	}
	o.name = h.newName()
	h.do(o, op.RenameKey, tokenauth.ErrNotFound, func(_ *tokenauth.Service, keys *tokenauth.Keys) error {
		return keys.Rename(ctx, h.user(o.user), k.id, fmt.Sprint("name ", o.name))
	})
}

func (h *keyHistory) list(ctx context.Context, _ *rand.Rand, o *keyOperation) {
	h.do(o, op.ListKeys, nil, func(_ *tokenauth.Service, keys *tokenauth.Keys) error {
		list, err := keys.List(ctx, h.user(o.user))
		if err != nil {
			return err
		}
		o.listed = make(map[string]int)
		for _, k := range list {
			if _, again := o.listed[k.ID]; again {
				h.violate("%v lists %q twice", o, k.ID)
			}
			var name int
			if _, err := fmt.Sscanf(k.Name, "name %d", &name); err != nil {
				h.violate("%v lists the name %q", o, k.Name)
			}
			o.listed[k.ID] = name
		}
		return nil
	})
}

func (h *keyHistory) revokeUser(ctx context.Context, _ *rand.Rand, o *keyOperation) {
	h.do(o, op.RevokeUser, nil, func(auth *tokenauth.Service, _ *tokenauth.Keys) error {
		return auth.RevokeUser(ctx, h.user(o.user))
	})
}

func (h *keyHistory) revokeClient(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	h.do(o, op.RevokeClient, nil, func(auth *tokenauth.Service, _ *tokenauth.Keys) error {
		return auth.RevokeClient(ctx, h.client(rng))
	})
}

// change changes the user. Like a host, it first changes its own table, and then revokes
// the user's tokens until that succeeds.
func (h *keyHistory) change(ctx context.Context, rng *rand.Rand, o *keyOperation) {
	k, change := op.SetPassword, func(*host.Account) {}
	now := h.directory.Account(h.user(o.user))
	switch n := rng.IntN(10); {
	case now.Disabled:
		k, change = op.Enable, func(a *host.Account) { a.Disabled = false }
	case n < 3:
		k, change = op.Disable, func(a *host.Account) { a.Disabled = true }
	case n < 8 && now.Roleless:
		k, change = op.GiveRole, func(a *host.Account) { a.Roleless = false }
	case n < 8:
		k, change = op.TakeRole, func(a *host.Account) { a.Roleless = true }
	}
	h.do(o, k, nil, func(auth *tokenauth.Service, _ *tokenauth.Keys) error {
		o.account = h.directory.Change(h.user(o.user), change)
		o.version = o.account.Changes
		for {
			err := auth.RevokeUser(ctx, h.user(o.user))
			if err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// rest counts the keys of each user while no other call is in progress. Keys that no
// client received do not count.
func (h *keyHistory) rest(ctx context.Context, rng *rand.Rand) {
	for user := range h.users {
		o := &keyOperation{worker: h.workers, replica: rng.IntN(len(h.replicas)), user: user}
		h.list(ctx, rng, o)
		n := 0
		for _, k := range h.keys {
			if _, ok := o.listed[k.id]; ok {
				n++
			}
		}
		if n > h.max {
			h.violate("user %d has %d keys, want at most %d", user, n, h.max)
		}
	}
}

// pick picks a key for the operation. Unless the history is calm, it prefers the latest
// keys.
func (h *keyHistory) pick(rng *rand.Rand, o *keyOperation) (k madeKey, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.keys)
	if n == 0 {
		return k, false
	}
	back := rng.IntN(n)
	if !h.calm {
		back = min(back, rng.IntN(n), rng.IntN(n))
	}
	o.key = n - back
	k = h.keys[o.key-1]
	o.user = k.user
	return k, true
}

// lastSignIn returns the latest sign-in of the user.
func (h *keyHistory) lastSignIn(user int) (t signedIn, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range slices.Backward(h.signIns) {
		if t.Principal.UserID == h.user(user) {
			return t, true
		}
	}
	return t, false
}

func (h *keyHistory) newName() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names++
	return h.names
}

func (h *keyHistory) user(n int) string { return fmt.Sprintf("%s user %d", h.name, n) }

// client returns the ID of one of the history's own clients.
func (h *keyHistory) client(rng *rand.Rand) string {
	return fmt.Sprintf("%s client %d", h.name, rng.IntN(h.clients))
}

func (h *keyHistory) violate(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = append(h.broken, fmt.Sprintf(format, args...))
}

// versionOf returns the version of the user that a token shows.
func versionOf(t tokenauth.Token) int {
	n, err := strconv.Atoi(t.Principal.Stamp)
	if err != nil {
		return -1
	}
	return n
}
