package tokenauth

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// A Key describes an API key ([Options.Keys]). It does not contain the secret,
// which only [Keys.Create] returns.
type Key struct {
	// ID identifies the key. It is the beginning of the key itself, such as
	// "key_7Hq2sXb0pQ4e", so it can be compared with a list, a log record and a
	// leaked key. It is not secret. (Only the ID of a key that [Keys.Import] stored is
	// not the beginning of that key.)
	ID string
	// Name is the key's name for people: at most 100 bytes of UTF-8 without control
	// characters. The user chooses it, so escape it where you show it.
	Name string
	// Roles are the roles that the key has, as long as the user has them. Nil means
	// all roles that the user has at each time. An empty list means none.
	Roles []string
	// Attributes are added to the user's current [Principal.Attributes], and replace
	// those with the same name.
	Attributes map[string]string
	// CreatedAt is the time when the key was made. LastSeen is when it was last
	// used, accurate to an hour, or zero if no use is known. ExpiresAt is when it
	// expires, in whole seconds, or zero if it does not expire.
	CreatedAt, LastSeen, ExpiresAt time.Time
}

const (
	// keyClient takes the place of a client's ID in the tokens that are stored for
	// keys and for their owners. No client has this ID.
	keyClient = "\x01key"
	// allRoles is the role that is stored for a key whose Roles are nil. A storage
	// may not distinguish nil from an empty list.
	allRoles = "\x01all"
	// importedMark is the Device of a stored key that was imported.
	importedMark = "imported"
	// maxImported is the maximum length of an imported key in bytes.
	maxImported = 512
)

// neverExpires is the ExpiresAt that is stored for a key that does not expire.
var neverExpires = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// ownerClient takes the place of a client's key in the slot with the record of a user
// who has keys.
var ownerClient = func() ClientKey {
	sum := sha256.Sum256([]byte(ownerDomain))
	return ClientKey(sum[:16])
}()

// keysMask is what distinguishes the key of a user's API keys from the user's own key.
var keysMask = sha256.Sum256([]byte(keysDomain))

// keys returns the key under which a storage keeps the user's API keys. It differs
// from the user's own key, so that whatever ends the user's sign-ins keeps the API
// keys. It is a hash as well, so it differs from the keys of all other users.
//
// The first 8 bytes are the same. So a change of the user's sign-ins, and of the record
// of the owner among them, also invalidates the API keys in the cache. And a database
// has the two rows that a validation reads side by side.
func (u UserKey) keys() UserKey {
	subtle.XORBytes(u[8:], u[8:], keysMask[:8])
	return u
}

// A keyRef says where a key and the record of its owner are stored.
type keyRef struct {
	key, owner Slot
	digest     Digest // of the key
}

// slotOfKey returns the slot of a user's API key. In place of a client's key, it has
// the key's ID and zeros.
func slotOfKey(u UserKey, id accesstoken.KeyID) Slot {
	s := Slot{User: u.keys()}
	copy(s.Client[:], id[:])
	return s
}

// importedSlot returns the slot of the pointer to an imported key. An imported key does
// not say which user it belongs to. The pointer's UserID does.
func importedSlot(d *Digest) Slot {
	return slotFrom(sha256.Sum256(append([]byte(pointerDomain), d[:]...)))
}

// importedRef returns the place of an imported key and of its owner's record.
func importedRef(userID string, d Digest) keyRef {
	user := UserKeyOf(userID)
	sum := sha256.Sum256(append([]byte(importedDomain), d[:]...))
	return keyRef{slotOfKey(user, accesstoken.KeyID(sum[:])), Slot{user, ownerClient}, d}
}

// refOf returns the place of a key that the Service has accepted.
func refOf(t *Token) keyRef {
	return keyRef{t.Slot, Slot{UserKeyOf(t.Principal.UserID), ownerClient}, t.Digest}
}

// isOwner reports whether t is the record of a user who has keys, and not a token.
func (t *Token) isOwner() bool { return t.Slot.Client == ownerClient }

// isStoredKey reports whether t is a key as a storage returned it.
func (t *Token) isStoredKey() bool { return t.ClientID == keyClient && !t.isOwner() }

// idOfKey returns the public ID of a stored key.
func (o *KeyOptions) idOfKey(t *Token) string {
	return accesstoken.KeyID(t.Slot.Client[:]).Start(o.Prefix)
}

// describe returns the description of a stored key.
func (o *KeyOptions) describe(t *Token) Key {
	k := Key{
		ID:         o.idOfKey(t),
		Name:       t.DeviceName,
		Attributes: maps.Clone(t.Principal.Attributes),
		CreatedAt:  t.IssuedAt,
		ExpiresAt:  t.ExpiresAt,
	}
	if !slices.Contains(t.Principal.Roles, allRoles) {
		k.Roles = append([]string{}, t.Principal.Roles...)
	}
	if t.ExpiresAt.Equal(neverExpires) {
		k.ExpiresAt = time.Time{}
	}
	if k.LastSeen = t.LastSeen; !k.LastSeen.IsZero() && k.LastSeen.Before(t.IssuedAt) {
		k.LastSeen = t.IssuedAt // the hour of the use began before
	}
	return k
}

// present returns a stored key as the Service shows it, with no roles: its owner is
// not known.
func (o *KeyOptions) present(t *Token) *Token {
	p := *t
	p.Key, p.ClientID, p.Device, p.Principal.Roles = o.idOfKey(t), "", "", nil
	return &p
}

// presentFor is present for a key whose owner has the record.
func (o *KeyOptions) presentFor(t, owner *Token) *Token {
	p := o.present(t)
	now := &owner.Principal
	p.Principal.UserName, p.Principal.Stamp = now.UserName, now.Stamp
	p.Principal.Roles = rolesFor(t.Principal.Roles, now.Roles)
	p.Principal.Attributes = attributesFor(t.Principal.Attributes, now.Attributes)
	return p
}

// rolesFor returns the roles of a stored key that its owner still has. The result may
// be one of the arguments.
func rolesFor(key, owner []string) []string {
	if slices.Contains(key, allRoles) {
		return owner
	}
	lost := func(role string) bool { return !slices.Contains(owner, role) }
	if !slices.ContainsFunc(key, lost) {
		return key
	}
	return slices.DeleteFunc(slices.Clone(key), lost)
}

// attributesFor returns the attributes of the owner and those of the key, which come
// first. The result may be one of the arguments.
func attributesFor(key, owner map[string]string) map[string]string {
	switch {
	case len(key) == 0:
		return owner
	case len(owner) == 0:
		return key
	}
	all := maps.Clone(owner)
	maps.Copy(all, key)
	return all
}

// isOf reports whether the owner of a key seems to be as they were when the record was
// made. An owner without a stamp may have other attributes, or further roles.
func (t *Token) isOf(owner *Principal) bool {
	p := &t.Principal
	return owner.Stamp == p.Stamp && owner.UserName == p.UserName &&
		!slices.ContainsFunc(p.Roles, func(role string) bool { return !owner.HasRole(role) })
}

// compareKeys orders stored keys from the oldest to the newest.
func compareKeys(a, b Token) int {
	return cmp.Or(a.IssuedAt.Compare(b.IssuedAt), bytes.Compare(a.Slot.Client[:], b.Slot.Client[:]))
}

// withMilliseconds returns a time in whole milliseconds that is not in whole seconds,
// because a storage may drop the name of a token without milliseconds.
func withMilliseconds(t time.Time) time.Time {
	t = t.Truncate(time.Millisecond)
	if t.Nanosecond() == 0 {
		t = t.Add(time.Millisecond)
	}
	return t
}
