package storagetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// onDevice returns a token of the user at the client, on a device. The key of
// its slot differs from the key that [tokenauth.Service] uses. That is allowed:
// to a storage, the keys of devices are arbitrary bytes.
func onDevice(user, client, device string, n int) tokenauth.Token {
	t := token(user, client, n)
	sum := sha256.Sum256(fmt.Appendf(nil, "storagetest device %q %q", client, device))
	t.Slot.Client = tokenauth.ClientKey(sum[:16])
	t.Device = device
	return t
}

// deviceTokens returns tokens that use the fields of devices and of sliding
// lifetimes, together and alone.
func deviceTokens() []tokenauth.Token {
	const year = 365 * 24 * time.Hour
	printable := "'; DROP--\"\\%_*?:{}$1`~ !#&()+,/<=>@[]^|a"
	device := onDevice("alice", "mobile", printable+strings.Repeat("Z", 64-len(printable)), 101)
	device.DeviceName = strings.Repeat("\U0001F511", 25) // 100 bytes
	device.IssuedAt = epoch.Add(999 * time.Millisecond)
	device.Lifetime = year
	upper, lower := onDevice("alice", "mobile", "A", 102), onDevice("alice", "mobile", "a", 103)
	upper.DeviceName, lower.DeviceName = "Ann's phone", "ann's \"phone\\ "
	upper.IssuedAt = epoch.Add(time.Millisecond)
	blank := onDevice("alice", "", " ", 104)
	blank.DeviceName = strings.Repeat("ä", 50)
	plain := token("bob", "mobile", 105) // in a slot without a device
	plain.DeviceName = "the living room"
	plain.IssuedAt = epoch.Add(500 * time.Millisecond)
	sliding := token("bob", "web", 106)
	sliding.Lifetime = time.Minute
	return []tokenauth.Token{device, upper, lower, blank, plain, sliding}
}

func keepsDeviceName(ctx context.Context, s tokenauth.Storage) error {
	n := 0
	named := func(t tokenauth.Token, name string) tokenauth.Token {
		n++
		copy(t.Digest[:], fmt.Sprintf("%-32d", n))
		t.DeviceName = name
		return t
	}
	phone, tablet := onDevice("alice", "mobile", "phone", 0), onDevice("alice", "mobile", "tablet", 0)
	bobs, plain := onDevice("bob", "mobile", "phone", 0), token("alice", "mobile", 0)
	plain.IssuedAt = plain.IssuedAt.Add(time.Millisecond) // as with Options.Devices
	held := make(map[tokenauth.Slot]tokenauth.Token)
	// step stores a token, and expects that the slot then holds it with the name.
	step := func(t tokenauth.Token, name string) error {
		if err := all(ctx, s, t); err != nil {
			return err
		}
		t.Replaced, t.DeviceName = held[t.Slot].Digest, name
		held[t.Slot] = t
		for _, want := range held {
			if err := holds(ctx, s, want); err != nil {
				return fmt.Errorf("after Replace with name %q in the slot of device %q: %w", name, t.Device, err)
			}
		}
		return nil
	}
	expired := named(phone, "")
	expired.IssuedAt, expired.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
	return first(
		func() error { return step(named(phone, "Ann's phone"), "Ann's phone") },
		func() error { return step(named(phone, ""), "Ann's phone") },
		func() error { return step(named(tablet, ""), "") }, // no name of another slot
		func() error { return step(named(plain, ""), "") },
		func() error { return step(named(bobs, ""), "") },
		func() error { return step(named(phone, "Ann’s new 📱"), "Ann’s new 📱") },
		func() error { return step(expired, "Ann’s new 📱") },
		func() error { return step(named(phone, ""), "Ann’s new 📱") }, // of an expired token
		func() error { return step(named(tablet, "Tablet"), "Tablet") },
		func() error { return step(named(plain, "Browser"), "Browser") },
		func() error { return step(named(plain, ""), "Browser") },
		func() error { return s.Revoke(ctx, phone.Slot, held[phone.Slot].Digest) },
		func() error { delete(held, phone.Slot); return step(named(phone, ""), "") }, // the slot was empty
	)
}

func keepsDeviceNameRace(ctx context.Context, s tokenauth.Storage) error {
	for round := range 50 {
		named, unnamed, renamed := onDevice("alice", "", "phone", 3*round), onDevice("alice", "", "phone", 3*round+1), onDevice("alice", "", "phone", 3*round+2)
		named.DeviceName, renamed.DeviceName = "old", "new"
		if err := all(ctx, s, named); err != nil {
			return err
		}
		tokens := []tokenauth.Token{unnamed, renamed}
		if round%2 == 1 { // on an idle machine, one of the calls often begins first
			slices.Reverse(tokens)
		}
		if err := together(2, func(i int) error { return s.Replace(ctx, tokens[i]) }); err != nil {
			return err
		}
		got, err := s.Find(ctx, named.Slot)
		if err != nil {
			return fmt.Errorf("Find returned an error: %w", err)
		}
		// If the token without a name is the second one, it keeps the new name.
		if got.DeviceName != renamed.DeviceName {
			return fmt.Errorf("after concurrent calls of Replace with names %q and %q, the device has the name %q", unnamed.DeviceName, renamed.DeviceName, got.DeviceName)
		}
	}
	return nil
}

func devicesApart(ctx context.Context, s tokenauth.Storage) error {
	// The keys of these slots have prefixes and suffixes in common. Some bytes
	// have a meaning in patterns, in text or in escape sequences.
	var tokens []tokenauth.Token
	for i := range 256 {
		head, tail := onDevice("alice", "mobile", fmt.Sprint("head", i), 2*i), onDevice("alice", "mobile", fmt.Sprint("tail", i), 2*i+1)
		head.Slot.Client = tokenauth.ClientKey{0: byte(i), 1: '%', 2: '*'}
		tail.Slot.Client = tokenauth.ClientKey{0: '\\', 1: '\'', 14: 1, 15: byte(i)}
		tokens = append(tokens, head, tail)
	}
	const few = 16 // slots that are emptied
	tokens = append(tokens, token("alice", "mobile", 1000), onDevice("bob", "mobile", "head0", 1001))
	others := tokens[few:]
	if err := allTogether(ctx, s, tokens); err != nil {
		return err
	}
	if err := allHeld(ctx, s, tokens); err != nil {
		return err
	}
	for _, t := range tokens[:few] {
		if err := s.Revoke(ctx, t.Slot, t.Digest); err != nil {
			return fmt.Errorf("Revoke returned an error: %w", err)
		}
		if err := isEmpty(ctx, s, t.Slot); err != nil {
			return err
		}
	}
	bobs := others[len(others)-1]
	return first(
		func() error { return allHeld(ctx, s, others) },
		func() error { return s.RevokeUser(ctx, bobs.Slot.User) },
		func() error { return isEmpty(ctx, s, bobs.Slot) },
		func() error { return allHeld(ctx, s, others[:len(others)-1]) },
	)
}
