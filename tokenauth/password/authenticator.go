package password

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/verified"
)

// An Account is what a Lookup finds.
type Account struct {
	// UserID identifies the user for ever, whatever the name becomes.
	UserID string
	// UserName is the name as stored. Lookup must find the account by it, and
	// not only by what was typed, such as an e-mail address: a sign-in is refused
	// if it does not.
	UserName string
	// PasswordHash is of any format that the package knows, or of one in
	// Options.Formats. An account without one, or with one that cannot be
	// used, cannot sign in by password.
	PasswordHash string
	// Roles and Attributes go into the principal.
	Roles      []string
	Attributes map[string]string
	// Disabled accounts cannot sign in.
	Disabled bool
	// Stamp is any text that changes whenever the user's tokens should end,
	// such as Identity's SecurityStamp. If it is empty, a change of the
	// password hash, the roles or the name counts, and the hash is therefore
	// never upgraded.
	Stamp string
}

// A Lookup finds an account by the user name that somebody typed, under the
// host's own rules of what spellings are the same.
//
//   - It returns tokenauth.ErrNotFound, possibly wrapped, for an unknown name. It
//     may return tokenauth.ErrRejected for a user who may not sign in, who is then
//     unknown. Any other error means that it could not tell, and becomes a 503.
//   - It must read what was last committed: the primary, no cache.
//   - It is safe for concurrent use and returns soon after its context ends.
type Lookup func(ctx context.Context, userName string) (Account, error)

// Options configures an Authenticator. Nil or the zero value selects the defaults.
type Options struct {
	// Timeout bounds each look-up and each upgrade; zero means 2 seconds. At
	// most a minute.
	Timeout time.Duration

	// Formats read stored hashes of the host's own formats, such as Django's or
	// one with a pepper; empty means none. They are called in this order, before
	// the package's formats. Each returns a func that reports whether a password
	// is the one that was hashed, or nil for a hash of another format and for one
	// that it cannot use.
	//
	//   - It checks the cost of the hash before any work: somebody who can write
	//     to the table must not be able to stall the service. The built-in
	//     formats allow about a second.
	//   - The func compares in constant time (crypto/subtle). The password is what
	//     somebody sent: over HTTP, UTF-8 without NUL.
	//   - A func that cannot compute the hash, for example by GODEBUG=fips140=only,
	//     must not return false, which says that the password is wrong. It panics:
	//     the sign-in ends in a 500, and no failure counts.
	//   - Both are safe for concurrent use. Only the func is called within the
	//     bound of MaxHashing, so only the func hashes. It is called a second time
	//     for a password that has another Unicode form, NFC or NFD.
	//   - The Authenticator keeps the funcs of up to 1,000 accounts in memory. It
	//     also calls them with passwords for names that nobody has, and ignores the
	//     result: only so does a rejection take the time of such a hash.
	Formats []func(stored string) (verify func(password string) bool)

	// Upgrade stores newHash, which is as Hash returns it, in place of
	// oldHash. It is called after a good sign-in with a hash of another format
	// than Argon2id or of less memory, fewer passes for it, a shorter salt or a
	// shorter hash than Hash makes, so that a table moves on while its users
	// sign in. Nil means that hashes stay as they are.
	//
	//   - It compares and swaps in one statement, UPDATE … SET hash = newHash
	//     WHERE id = userID AND hash = oldHash, so that a password that was
	//     changed meanwhile stays changed. That it finds oldHash no more is no
	//     error.
	//   - It changes nothing else, and ends no token.
	//   - The column must hold 128 bytes: a database that cuts off what is too
	//     long would lock the user out.
	//   - An error is logged, and the user signs in all the same.
	//
	// Only accounts with a Stamp of their own are upgraded, because the hash
	// stands in for a missing one: an upgrade would look like a new password
	// and end the user's tokens. The first other account that would be upgraded
	// is logged. While passwords wait to be hashed none is
	// upgraded; a later sign-in will.
	Upgrade func(ctx context.Context, userID, oldHash, newHash string) error

	// KeepHashes leaves hashes as they are, whatever Upgrade is, for as long as
	// another application reads them. Identity 2, for one, knows its own format
	// only.
	KeepHashes bool

	// MaxHashing is how many passwords are hashed at once; zero means half of
	// GOMAXPROCS, and at least 1, which leaves processors to the rest of the
	// service. Each takes all of a processor and 19 MiB, and what it leaves is
	// garbage for a while: with Go's default GOGC, 50 to 60 MiB for each have
	// been measured. At most 1,024.
	MaxHashing int

	// MaxWaiting is how many sign-ins more may be in progress and wait for their
	// turn; tokenauth.ErrBusy beyond. Zero means 256 for each of MaxHashing, which
	// is a wait of some six seconds, and 1,024 at most. Up to 65,536.
	//
	//   - Turns go round by source (Credentials.RemoteAddr): an IPv4 address, or an
	//     IPv6 /48, whose turns go round by /64. Those of one source come in the
	//     order of arrival. All unknown addresses are one source.
	//   - A source that is alone may have all of MaxWaiting. While another one
	//     waits, it gets no more than an eighth.
	//   - If MaxWaiting is reached, a source with fewer sign-ins takes the place of
	//     the newest one of the source that has most. That one gets ErrBusy.
	MaxWaiting int

	// Logger gets warnings: of accounts whose hash cannot be used, of upgrades that
	// failed, of sign-ins refused as busy, and of passwords refused for bcrypt's
	// limit of 72 bytes, each once a minute, and for each account; and, once, of an
	// account that is not upgraded because it has no Stamp. Nil means
	// slog.Default().
	Logger *slog.Logger
}

// errBusy: too many sign-ins are in progress. It becomes a 503.
var errBusy = fmt.Errorf("password: too many sign-ins at once: %w", tokenauth.ErrBusy)

// An Authenticator is a tokenauth.Authenticator and a tokenauth.Rechecker for
// accounts with a password hash. It is safe for concurrent use. Failed sign-ins
// count for the account that Lookup finds, whatever the name by which it did.
type Authenticator struct {
	lookup   Lookup
	timeout  *deadline.Timeout
	formats  []format
	upgrade  func(ctx context.Context, userID, oldHash, newHash string) error // or nil
	gate     *gate
	usual    verifier // a hash of the default cost
	dummies  *dummies
	warnings *warnings
}

// New returns an Authenticator whose accounts are found by lookup. Options may be
// nil. New hashes once, to have a hash to verify where there is no account. The
// error names the argument or field that is wrong.
func New(lookup Lookup, o *Options) (*Authenticator, error) {
	if lookup == nil {
		return nil, errors.New("password: the lookup is nil")
	}
	if o == nil {
		o = &Options{}
	}
	switch {
	case o.Timeout < 0 || o.Timeout > time.Minute:
		return nil, fmt.Errorf("password: Options.Timeout is %v, must be up to a minute", o.Timeout)
	case o.MaxHashing < 0 || o.MaxHashing > mostHashing:
		return nil, fmt.Errorf("password: Options.MaxHashing is %d, must be up to %d", o.MaxHashing, mostHashing)
	case o.MaxWaiting < 0 || o.MaxWaiting > mostWaiting:
		return nil, fmt.Errorf("password: Options.MaxWaiting is %d, must be up to %d", o.MaxWaiting, mostWaiting)
	}
	for i, format := range o.Formats {
		if format == nil {
			return nil, fmt.Errorf("password: Options.Formats[%d] is nil", i)
		}
	}
	hashing := cmp.Or(o.MaxHashing, defaultHashing())
	u := &Authenticator{
		lookup:   lookup,
		timeout:  &deadline.Timeout{Duration: cmp.Or(o.Timeout, 2*time.Second)},
		formats:  slices.Clone(o.Formats),
		gate:     newGate(hashing, cmp.Or(o.MaxWaiting, defaultWaiting(hashing))),
		usual:    newArgon2id("a password that no account has"),
		warnings: newWarnings(cmp.Or(o.Logger, slog.Default())),
	}
	u.dummies = newDummies(u.usual)
	if !o.KeepHashes {
		u.upgrade = o.Upgrade
	}
	return u, nil
}

// Authenticate returns the principal whose user name and password these are.
// Its errors are:
//
//   - tokenauth.ErrRejected for an unknown user, a wrong password, a disabled
//     account and an unusable hash alike.
//   - tokenauth.ErrBusy, wrapped, if Options.MaxWaiting leaves no place: at once,
//     or later if another source takes the place.
//   - The lookup's error if that failed.
//   - The context's error if it ended before the sign-in's turn to hash.
//   - An error if the hash cannot be computed in this process, for example by
//     GODEBUG=fips140=only; also for an unknown user whose dummy is such a hash.
//
// Every rejection takes at least one hash of the default cost:
//
//   - A wrong password and a disabled account take the work of the stored hash,
//     and then one hash of the default cost if the stored one is cheaper.
//   - A password that has another Unicode form, NFC or NFD, is verified in both
//     (RFC 8265 §4.2), unless the first matches. Both count as one attempt.
//   - An unknown user and an unusable hash take the same work for a dummy. It
//     costs what the hash of one account costs, out of a sample of up to 1,000
//     that were looked up. Before the first of them it has the default cost.
//
// SECURITY.md says what the time of an answer can still tell.
func (u *Authenticator) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	var none tokenauth.Principal
	ctx, stop := deadline.Waiting(ctx)
	defer stop()
	ticket := u.gate.enter(c.RemoteAddr)
	if ticket == nil {
		return none, u.busy(ctx)
	}
	defer u.gate.leave(ticket)

	account, err := u.find(ctx, c.UserName)
	found := !errors.Is(err, tokenauth.ErrNotFound) && !errors.Is(err, tokenauth.ErrRejected)
	if err != nil && found {
		return none, err
	}
	if !found {
		account = Account{}
	}
	if err := c.CountAttempt(ctx, account.UserID); err != nil {
		return none, err
	}
	stored, usable := u.dummies.of(c.UserName), false
	if found {
		if v, ok := parseWith(u.formats, account.PasswordHash); ok {
			u.dummies.learn(account.UserID, v)
			stored, usable = v, !account.Disabled
		} else if !account.Disabled {
			u.warnings.warn(ctx, "password: an account has a hash that cannot be used", account.UserID)
		}
	}

	var failure error
	password, matches, tooLong := c.Password.Reveal(), false, false
	err = u.gate.hash(ctx, ticket, func() {
		for _, form := range forms(password) {
			same, cut, err := verify(stored, form)
			if failure = err; failure != nil {
				break
			}
			tooLong = tooLong || cut && usable
			if matches = same && usable; matches {
				return
			}
		}
		if stored.cheap() {
			u.usual.verify(password)
		}
	})
	if errors.Is(err, errBusy) {
		return none, u.busy(ctx)
	}
	if err != nil {
		return none, err
	}
	if failure != nil { // also that of a dummy: the answer must not tell who exists
		u.warnings.warn(ctx, "password: a hash cannot be computed in this process, so its password was not checked", account.UserID, "error", failure)
		return none, fmt.Errorf("password: a hash cannot be computed in this process: %w", failure)
	}
	if !matches {
		if tooLong {
			u.warnings.warn(ctx, tooLongForBcrypt, account.UserID)
		}
		return none, tokenauth.ErrRejected
	}
	verified.Report(ctx) // for what wraps this and rejects the sign-in for something else
	if u.upgrade != nil && outdated(stored) {
		if account.Stamp != "" {
			u.replaceHash(ctx, account, password)
		} else {
			u.warnings.notUpgraded(ctx, account.UserID)
		}
	}
	return account.principal(), nil
}

// busy returns errBusy, and warns.
func (u *Authenticator) busy(ctx context.Context) error {
	u.warnings.warn(ctx, "password: a sign-in was refused, as too many are in progress", "")
	return errBusy
}

// replaceHash replaces the hash of an account whose password this is, if that
// can be done now.
func (u *Authenticator) replaceHash(ctx context.Context, a Account, password string) {
	var hash string
	var err error
	if !u.gate.hashIfFree(func() { hash, err = Hash(password) }) || err != nil {
		return // busy, or a password that will be rejected after all
	}
	call, cancel, err := u.timeout.Call(ctx)
	if err != nil {
		return
	}
	defer cancel()
	if err := u.upgrade(call, a.UserID, a.PasswordHash, hash); err != nil && !deadline.Ended(ctx) {
		// A database may quote what it was given.
		text := strings.NewReplacer(a.PasswordHash, "[redacted]", hash, "[redacted]").Replace(err.Error())
		u.warnings.warn(ctx, "password: a hash could not be upgraded", a.UserID, "error", text)
	}
}

// errLost has the Service say so in the log: right after a good password it is
// more likely a Lookup that does not find by Account.UserName.
var errLost = fmt.Errorf("%w: %w", tokenauth.ErrRejected, tokenauth.ErrNotFound)

// Recheck returns nil if the user can still be found under that name, may sign
// in, and has not changed since p was made; tokenauth.ErrRejected if not, also
// tokenauth.ErrNotFound if the name is nobody's or another user's; and the
// lookup's error if that failed.
func (u *Authenticator) Recheck(ctx context.Context, p tokenauth.Principal) error {
	account, err := u.find(ctx, p.UserName)
	if errors.Is(err, tokenauth.ErrNotFound) || err == nil && account.UserID != p.UserID {
		return errLost
	}
	if err != nil {
		return err
	}
	if !account.StillValid(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

func (u *Authenticator) find(ctx context.Context, userName string) (Account, error) {
	call, cancel, err := u.timeout.Call(ctx)
	if err != nil {
		return Account{}, err
	}
	defer cancel()
	return u.lookup(call, userName)
}

func (a *Account) principal() tokenauth.Principal {
	return tokenauth.Principal{
		UserID:     a.UserID,
		UserName:   a.UserName,
		Roles:      slices.Clone(a.Roles),
		Attributes: maps.Clone(a.Attributes),
		Stamp:      a.stamp(),
	}
}

// CanVerify reports whether the hash is of a format of this package or of
// Options.Formats, and within its bounds, for hosts that import users.
func (u *Authenticator) CanVerify(passwordHash string) bool {
	_, ok := parseWith(u.formats, passwordHash)
	return ok
}

// StillValid reports whether the account may still sign in and has not changed
// since p was made of it, for those who look accounts up in a way of their own.
func (a *Account) StillValid(p tokenauth.Principal) bool {
	return !a.Disabled && a.UserID == p.UserID && a.stamp() == p.Stamp
}

// stamp digests what must not change while a token is good.
func (a *Account) stamp() string {
	change := a.Stamp
	if change == "" {
		change = a.PasswordHash
	}
	h := sha256.New()
	for _, field := range append([]string{a.UserID, a.UserName, change}, slices.Sorted(slices.Values(a.Roles))...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write([]byte(field))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}
