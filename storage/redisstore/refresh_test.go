package redisstore_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// refreshToken returns a token of the user, with a refresh token that is valid for longer.
// The first byte of its digest is n.
func refreshToken(user string, n byte, life, longer time.Duration) tokenauth.Token {
	t := newToken(user, "", n, life)
	t.Refresh = &tokenauth.Refresh{ExpiresAt: t.IssuedAt.Add(longer), State: []byte{n, 0, 0xff, '\r', '\n', n}}
	return t
}

// refresher is a storage that is also a Refresher.
type refresher interface {
	tokenauth.Storage
	tokenauth.Refresher
}

// refreshed refreshes a token, and returns the new one. The first byte of its digest is n.
func refreshed(t testing.TB, s refresher, was tokenauth.Token, n byte, longer time.Duration) tokenauth.Token {
	t.Helper()
	found, err := s.FindRefresh(t.Context(), []tokenauth.Slot{was.Slot})
	if err != nil || found[0].Err != nil || found[0].Token.Digest != was.Digest || !reflect.DeepEqual(found[0].Token.Refresh, was.Refresh) {
		t.Fatalf("FindRefresh returns %+v, error %v, want %+v", found, err, was)
	}
	next := refreshToken(was.Principal.UserID, n, time.Hour, longer)
	next.Slot, next.ClientID, next.Device, next.DeviceName, next.Replaced = was.Slot, was.ClientID, was.Device, was.DeviceName, was.Digest
	for _, want := range []bool{true, false} { // the client may send the script twice
		if stored, err := s.Refresh(t.Context(), found[0].Token, next); err != nil || stored != want {
			t.Fatalf("Refresh returns %v, error %v, want %v", stored, err, want)
		}
	}
	if got, err := s.Find(t.Context(), was.Slot); err != nil || !reflect.DeepEqual(got, next) {
		t.Fatalf("after Refresh, Find returns %+v, error %v, want %+v", got, err, next)
	}
	return next
}

// replaceScriptBefore is the script with which the version before refresh tokens stores a
// token. Replicas with that version may run beside others while refresh tokens are off.
var replaceScriptBefore = rueidis.NewLuaScript(`
local replaced, rest = string.rep('\0', 32), ARGV[3]
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and #old >= 64 then
	replaced = string.sub(old, 1, 32)
	if replaced == ARGV[2] then
		replaced = string.sub(old, 33, 64)
	end
	if string.byte(rest) == 2 and string.byte(rest, -1) == 0 and string.byte(old, 65) == 2 then
		local size = string.byte(old, -1)
		if size < 128 and string.byte(old, -2 - size) == size then
			rest = string.sub(rest, 1, -3) .. string.sub(old, -2 - size)
		end
	end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. replaced .. rest)
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return redis.status_reply('OK')
`)

// replaceBefore stores a token as the version before refresh tokens does.
func replaceBefore(t *testing.T, client rueidis.Client, prefix string, token tokenauth.Token) {
	t.Helper()
	token.Replaced = tokenauth.Digest{}
	encoded, err := token.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if encoded[0] > 2 {
		t.Fatalf("the version before refresh tokens has no encoding %d", encoded[0])
	}
	kept := token.ExpiresAt.Unix() - token.IssuedAt.Unix() + 24*3600
	err = replaceScriptBefore.Exec(t.Context(), client, []string{key(prefix, token.Slot.User)},
		[]string{fmt.Sprintf("%x", token.Slot.Client[:]), string(token.Digest[:]), string(encoded), strconv.FormatInt(kept, 10)}).Error()
	if err != nil {
		t.Fatal(err)
	}
}

// Without a refresh token, this version stores the same bytes as the version before, with
// and without devices, also over each other's values.
func TestWithoutRefreshStoresWhatTheVersionBeforeStores(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix, before, both := newPrefix(t, client), newPrefix(t, client), newPrefix(t, client)
	s, mixed := newStore(t, client, prefix), newStore(t, client, both)
	for i := range byte(24) {
		token := deviceToken("alice", 1, []string{"", "phone", ""}[i%3], time.Duration(1+i%5)*time.Hour)
		token.Digest = tokenauth.Digest{1 + i/2} // each twice
		if i%8 == 7 {
			token.Device, token.DeviceName, token.IssuedAt = "", "", token.IssuedAt.Truncate(time.Second)
		}
		replace(t, s, token)
		replaceBefore(t, client, before, token)
		if i%4 < 2 {
			replace(t, mixed, token)
		} else {
			replaceBefore(t, client, both, token)
		}
		want := stored(t, client, before, token)
		for _, p := range []string{prefix, both} {
			if got := stored(t, client, p, token); got != want {
				t.Errorf("token %d: this version stores %q, and the version before %q", i, got, want)
			}
		}
	}
}

// A sign-in by the version before refresh tokens ends the refresh token. So does one of
// this version without refresh tokens. Both store what that version can read.
func TestSignInOfTheVersionBeforeEndsTheRefreshToken(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	for _, plain := range []tokenauth.Token{newToken("alice", "", 3, time.Hour), deviceToken("alice", 3, "", time.Hour)} {
		was := refreshToken("alice", 1, time.Hour, 30*24*time.Hour)
		was.Slot, was.Device, was.ClientID = plain.Slot, plain.Device, plain.ClientID
		if was.Device != "" {
			was.DeviceName = "phone"
		}
		for name, signIn := range map[string]func(){
			"the version before":                  func() { replaceBefore(t, client, prefix, plain) },
			"this version without refresh tokens": func() { replace(t, s, plain) },
		} {
			replace(t, s, was)
			if value := stored(t, client, prefix, was); value[64] != 3 {
				t.Errorf("a token with a refresh token has encoding %d, want 3", value[64])
			}
			next := refreshed(t, s, was, 2, time.Hour)
			signIn()
			got, err := s.Find(t.Context(), plain.Slot)
			if err != nil || got.Digest != plain.Digest || got.Replaced != next.Digest || got.Refresh != nil {
				t.Errorf("%s: Find returns %+v, error %v, want digest %v, which replaced %v", name, got, err, plain.Digest, next.Digest)
			}
			if value := stored(t, client, prefix, plain); value[64] > 2 {
				t.Errorf("%s stores encoding %d, which the version before cannot read", name, value[64])
			}
			if stored, err := s.Refresh(t.Context(), next, was); stored || err != nil {
				t.Errorf("%s: a refresh afterwards returns %v, error %v, want false", name, stored, err)
			}
			if err := s.RevokeUser(t.Context(), plain.Slot.User); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A sign-in without a device name keeps the name, also over and with a refresh token.
func TestRefreshTokensKeepTheDeviceName(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	for i, name := range []string{"phone", strings.Repeat("ü", 50), "\x00\x00", strings.Repeat("n", 127)} {
		for _, refreshes := range [][2]bool{{false, true}, {true, true}, {true, false}} {
			with := func(n byte, name string, refresh bool) tokenauth.Token {
				token := deviceToken("alice", byte(i), name, time.Hour)
				if token.Digest[0] = n; refresh {
					token.Refresh = refreshToken("alice", n, time.Hour, time.Hour).Refresh
				}
				return token
			}
			named, unnamed := with(1, name, refreshes[0]), with(2, "", refreshes[1])
			replace(t, s, named)
			replace(t, s, unnamed)
			unnamed.Replaced, unnamed.DeviceName = named.Digest, name
			if got, err := s.Find(t.Context(), named.Slot); err != nil || !reflect.DeepEqual(got, unnamed) {
				t.Errorf("name %q, refresh tokens %v: Find returns %+v, error %v, want %+v", name, refreshes, got, err, unnamed)
			}
			if err := s.Revoke(t.Context(), unnamed.Slot, unnamed.Digest); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Whatever is stored, Refresh returns false and no error, unless the value is that of the
// token. It changes nothing then.
func FuzzRefreshOnCorruptValues(f *testing.F) {
	client := open(f, option(f, throwaway.Redis(f)))
	prefix := newPrefix(f, client)
	s := newStore(f, client, prefix)
	for _, cut := range []int{0, 1, 31, 32, 63, 64, 65, 66, 185, 200, 230, 1000} {
		for _, tail := range []string{"", "\x00", "\xff", "\x00\x00", strings.Repeat("\x00", 300)} {
			f.Add(cut, []byte(tail))
		}
	}
	f.Fuzz(func(t *testing.T, cut int, tail []byte) {
		was := refreshToken("alice", 1, time.Hour, 30*24*time.Hour)
		if err := s.RevokeUser(t.Context(), was.Slot.User); err != nil {
			t.Fatal(err)
		}
		replace(t, s, was)
		good := []byte(stored(t, client, prefix, was))
		value := append(bytes.Clone(good[:min(max(cut, 0), len(good))]), tail...)
		name, field := key(prefix, was.Slot.User), fmt.Sprintf("%x", was.Slot.Client[:])
		do(t, client, "HSET", name, field, string(value))
		found, err := s.FindRefresh(t.Context(), []tokenauth.Slot{was.Slot})
		if err != nil || found[0].Err != nil && !errors.Is(found[0].Err, tokenauth.ErrCorrupt) {
			t.Errorf("FindRefresh returns %+v, error %v, want a token or ErrCorrupt", found, err)
		}
		next := refreshToken("alice", 2, time.Hour, 30*24*time.Hour)
		stands, err := s.Refresh(t.Context(), was, next)
		if err != nil || stands != bytes.Equal(value, good) {
			t.Errorf("Refresh over %q returns %v, error %v", value, stands, err)
		}
		if got := stored(t, client, prefix, was); !stands && got != string(value) {
			t.Errorf("Refresh changed %q to %q", value, got)
		}
		// A value that decodes can be refreshed if it has its canonical form.
		if found[0].Err == nil && found[0].Token.Refresh != nil && !stands {
			canonical, err := found[0].Token.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if stands, err = s.Refresh(t.Context(), found[0].Token, next); err != nil || !stands && bytes.Equal(canonical[1+32+64:], value[64+1+32+64:]) {
				t.Errorf("Refresh of the token in %q returns %v, error %v", value, stands, err)
			}
		}
		replace(t, s, next)
		if got, err := s.Find(t.Context(), next.Slot); err != nil || got.Digest != next.Digest || !reflect.DeepEqual(got.Refresh, next.Refresh) {
			t.Errorf("after %q, Find of a new token returns %+v, error %v", value, got, err)
		}
	})
}

// A use never changes a value with a refresh token, because MaxLifetime and Refresh
// exclude each other. It is recorded nevertheless.
func TestUsesDoNotExtendRefreshTokens(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	was := refreshToken("alice", 1, time.Hour, 30*24*time.Hour)
	replace(t, s, was)
	before := stored(t, client, prefix, was)
	use := useOf(was, time.Now())
	use.ExpiresAt = was.ExpiresAt.Add(time.Hour)
	record(t, s, use)
	if after := stored(t, client, prefix, was); after != before {
		t.Errorf("a use changed %q to %q", before, after)
	}
	if got := listed(t, s, was.Slot.User, was.Digest); !got.LastSeen.Equal(use.At) || got.Refresh == nil {
		t.Errorf("List returns %+v, want LastSeen %v and a Refresh", got, use.At)
	}
	refreshed(t, s, was, 2, time.Hour)
}

// The data in Redis contains no refresh token, no secret part of one, and not the key.
func TestRedisHoldsNoRefreshToken(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	const secret = "0123456789abcdef0123456789abcdef"
	users := new(tokenauthtest.Users)
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "password")
	auth, err := tokenauth.New(s, users, &tokenauth.Options{Refresh: &tokenauth.RefreshOptions{Key: tokenauth.NewSecret(secret)}})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("password")})
	var all []tokenauth.IssuedToken
	for range 4 {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, issued)
		issued, err = auth.Refresh(t.Context(), tokenauth.Credentials{RefreshToken: issued.RefreshToken})
	}
	value := stored(t, client, prefix, all[0].Token)
	if len(value) < 300 {
		t.Fatalf("Redis contains %q, which lacks the state of the refresh token", value)
	}
	for i, issued := range all {
		for what, token := range map[string]string{"access": issued.AccessToken.Reveal(), "refresh": issued.RefreshToken.Reveal()} {
			_, text, _ := strings.Cut(token, "_")
			raw, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil || len(raw) < 65 {
				t.Fatalf("the %s token decodes to %d bytes, error %v", what, len(raw), err)
			}
			for _, part := range []string{token, string(raw[33:49]), string(raw[49:65]), fmt.Sprintf("%x", raw[33:65]), secret} {
				if strings.Contains(value, part) {
					t.Errorf("pair %d: Redis contains %d bytes of the %s token, or the key", i, len(part), what)
				}
			}
		}
	}
}
