// Package rotation decides what a refresh token is worth, by what the storage keeps of
// the sign-in that it belongs to.
//
// A sign-in has one refresh token at a time. Each refresh replaces it together with
// the access token. The new pair is derived from the used refresh token, a salt and a
// key. So a client that repeats a refresh, because it did not get the answer or
// because two of its tabs refresh at once, gets the same pair again, although the
// storage has no token of the pair.
package rotation

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

const (
	// MaxRecent is the number of rotations that a State remembers.
	MaxRecent = 4
	// MaxRepeats is how often the refresh of one refresh token may be repeated.
	MaxRepeats = 3
	// Skew is how far the clocks of two processes may differ.
	Skew = 2 * time.Second
	// MaxSize is the largest size of an encoded State, in bytes.
	MaxSize = headSize + MaxRecent*rotationSize
)

// A State is what a storage keeps of the refresh tokens of a sign-in.
type State struct {
	// Access is the digest of the access token that the refresh token was issued
	// with. The State counts only while the slot holds this access token. So a
	// sign-in by a process that knows no refresh tokens ends them.
	Access [sha256.Size]byte
	// Current is the digest of the refresh token.
	Current [sha256.Size]byte
	// Family is the digest of the part that all refresh tokens of the sign-in share.
	Family [sha256.Size]byte
	// SignedIn is the time of the sign-in, in Unix seconds.
	SignedIn int64
	// Number is the number of the refresh token: the first one of a sign-in has 0.
	Number uint32
	// Old is a number. The tokens with smaller ones were used longer ago than the grace.
	Old uint32
	// Pending becomes Old when the grace has passed since PendingAt, which is in Unix
	// milliseconds. The tokens with numbers less than Pending were used by then. Zero
	// means that nothing is pending. Without it, a thief who keeps refreshing could make
	// the State forget, within the grace, when the victim's token was used.
	Pending   uint32
	PendingAt int64
	// Recent are the latest rotations, the oldest first. At most MaxRecent.
	Recent []Rotation
}

// A Rotation is a refresh: the use of a refresh token.
type Rotation struct {
	Used    [16]byte // the first half of the digest of the refresh token that was used
	Salt    [16]byte // for deriving the new pair
	At      int64    // in Unix milliseconds, by the clock of the process that rotated
	Process [4]byte  // a number of that process
	Source  [8]byte  // a keyed hash of the client's address
	Repeats uint8    // how often the refresh was repeated
}

// Repeated reports whether a refresh that the State remembers was repeated. The State
// may be nil.
func (s *State) Repeated() bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.Recent, func(r Rotation) bool { return r.Repeats > 0 })
}

const (
	version      = 1
	headSize     = 1 + 3*sha256.Size + 8 + 4 + 4 + 4 + 8 + 1
	rotationSize = 16 + 16 + 8 + 4 + 8 + 1
)

// ErrCorrupt means that bytes are not an encoded State.
var ErrCorrupt = errors.New("the state of a refresh token is corrupt")

// Encode returns the State as bytes. Equal States have equal encodings.
func (s *State) Encode() []byte {
	b := make([]byte, 0, headSize+len(s.Recent)*rotationSize)
	b = append(b, version)
	b = append(b, s.Access[:]...)
	b = append(b, s.Current[:]...)
	b = append(b, s.Family[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.SignedIn))
	for _, number := range []uint32{s.Number, s.Old, s.Pending} {
		b = binary.BigEndian.AppendUint32(b, number)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.PendingAt))
	b = append(b, byte(len(s.Recent)))
	for i := range s.Recent {
		r := &s.Recent[i]
		b = append(b, r.Used[:]...)
		b = append(b, r.Salt[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(r.At))
		b = append(b, r.Process[:]...)
		b = append(b, r.Source[:]...)
		b = append(b, r.Repeats)
	}
	return b
}

// Decode returns the State that Encode encoded, or ErrCorrupt.
func Decode(b []byte) (*State, error) {
	if len(b) < headSize || b[0] != version || b[headSize-1] > MaxRecent || len(b) != headSize+int(b[headSize-1])*rotationSize {
		return nil, ErrCorrupt
	}
	s := new(State)
	b = b[1:]
	for _, digest := range [][]byte{s.Access[:], s.Current[:], s.Family[:]} {
		b = b[copy(digest, b):]
	}
	s.SignedIn = int64(binary.BigEndian.Uint64(b))
	b = b[8:]
	for _, number := range []*uint32{&s.Number, &s.Old, &s.Pending} {
		*number = binary.BigEndian.Uint32(b)
		b = b[4:]
	}
	s.PendingAt = int64(binary.BigEndian.Uint64(b))
	for b = b[8+1:]; len(b) > 0; {
		var r Rotation
		b = b[copy(r.Used[:], b):]
		b = b[copy(r.Salt[:], b):]
		r.At = int64(binary.BigEndian.Uint64(b))
		b = b[8:]
		b = b[copy(r.Process[:], b):]
		b = b[copy(r.Source[:], b):]
		r.Repeats = b[0]
		b = b[1:]
		s.Recent = append(s.Recent, r)
	}
	return s, nil
}

// A Verdict is what a presented refresh token is worth.
type Verdict int

const (
	// Foreign: the token belongs to no refresh of this sign-in.
	Foreign Verdict = iota
	// Current: the token is the sign-in's refresh token.
	Current
	// Repeated: the token was used within the grace. Its client gets the current
	// pair.
	Repeated
	// Exhausted: as Repeated, but the refresh was repeated too often.
	Exhausted
	// Unsure: the token was used, but it is not known whether that was within the
	// grace. It is refused, and nothing ends.
	Unsure
	// Reused: the token was used before, and the grace is over. There is a copy of it.
	Reused
)

// A Reader is the process that judges tokens.
type Reader struct {
	Now     time.Time
	Grace   time.Duration
	Process [4]byte
}

// Judge returns what a refresh token is worth. The arguments are the digests of the
// token and of its family, and its number. For Repeated, it also returns the index in
// Recent of the rotation that used the token.
func (s *State) Judge(token, family *[sha256.Size]byte, number uint32, by Reader) (v Verdict, index int) {
	if subtle.ConstantTimeCompare(s.Family[:], family[:]) == 0 {
		return Foreign, 0
	}
	if subtle.ConstantTimeCompare(s.Current[:], token[:]) == 1 {
		return Current, 0
	}
	for i := range s.Recent {
		r := &s.Recent[i]
		if subtle.ConstantTimeCompare(r.Used[:], token[:len(r.Used)]) == 0 {
			continue
		}
		switch v := r.age(by); {
		case v == Repeated && r.Repeats >= MaxRepeats:
			return Exhausted, i
		default:
			return v, i
		}
	}
	// The token was used before the oldest rotation that is remembered. If rotations
	// were forgotten because there were too many, it may have been within the grace.
	if len(s.Recent) == MaxRecent && s.Recent[0].age(by) != Reused && number >= s.old(by) {
		return Unsure, 0
	}
	return Reused, 0
}

// old returns Old, or what it has become.
func (s *State) old(by Reader) uint32 {
	pending := Rotation{At: s.PendingAt, Process: by.Process}
	if by.Grace += Skew; s.Pending > s.Old && pending.age(by) == Reused {
		return s.Pending
	}
	return s.Old
}

// age returns Repeated for a rotation within the grace, Reused for an older one, and
// Unsure if the clocks of two processes may differ by more than that decides.
func (r *Rotation) age(by Reader) Verdict {
	age := by.Now.Sub(time.UnixMilli(r.At))
	skew := Skew
	if r.Process == by.Process {
		skew = 0
	}
	switch {
	case age < -Skew:
		return Unsure // a clock was set back
	case age <= by.Grace+skew:
		return Repeated
	}
	return Reused
}

// Next returns the State after a rotation. The arguments access and current are the
// digests of the new pair. It forgets rotations that are older than the grace.
func (s *State) Next(r Rotation, access, current [sha256.Size]byte, by Reader) *State {
	next := &State{Access: access, Current: current, Family: s.Family, SignedIn: s.SignedIn, Number: s.Number + 1, Old: s.old(by)}
	// A pair is derived through all rotations after the one that is repeated. The times
	// in Recent may be out of order, because the clocks of two processes differ.
	i := slices.IndexFunc(s.Recent, func(r Rotation) bool { return r.age(by) != Reused })
	if i < 0 {
		i = len(s.Recent)
	}
	if i > 0 {
		next.Old = max(next.Old, s.Number-uint32(len(s.Recent)-i))
	}
	next.Recent = append(next.Recent, s.Recent[i:]...)
	next.Recent = append(next.Recent, r)
	if s.Pending > next.Old {
		next.Pending, next.PendingAt = s.Pending, s.PendingAt
	}
	if extra := len(next.Recent) - MaxRecent; extra > 0 {
		if next.Pending == 0 {
			next.Pending, next.PendingAt = next.Number-MaxRecent, next.Recent[extra-1].At
		}
		next.Recent = next.Recent[extra:]
	}
	return next
}
