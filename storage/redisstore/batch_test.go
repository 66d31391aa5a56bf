package redisstore_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// expectFound checks that FindBatch returns the same results as Find, and returns
// them.
func expectFound(t *testing.T, s interface {
	tokenauth.Storage
	tokenauth.BatchFinder
}, slots []tokenauth.Slot) []tokenauth.Found {
	t.Helper()
	found, err := s.FindBatch(t.Context(), slots)
	if err != nil || len(found) != len(slots) {
		t.Fatalf("FindBatch of %d slots returns %d results, error %v", len(slots), len(found), err)
	}
	for i, slot := range slots {
		token, err := s.Find(t.Context(), slot)
		if !reflect.DeepEqual(found[i].Token, token) || fmt.Sprint(found[i].Err) != fmt.Sprint(err) {
			t.Errorf("for slot %d FindBatch returns %+v, error %v, but Find returns %+v, error %v", i, found[i].Token, found[i].Err, token, err)
		}
	}
	return found
}

var errWrongType = errors.New("WRONGTYPE, of Redis")

// FindBatch returns for each slot, on any master, the same result as Find: a
// token, ErrNotFound, or an error about a corrupt value.
func TestFindBatchReturnsTheResultsOfFind(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		prefix := newPrefix(t, client)
		s := newStore(t, client, prefix)
		var slots []tokenauth.Slot
		want := make([]error, 64)
		for i := range want {
			token := newToken(fmt.Sprint("user", i), fmt.Sprint("client", i%2), byte(i), time.Hour)
			slots = append(slots, token.Slot)
			name, field := key(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:])
			if i%8 != 1 {
				replace(t, s, token)
			}
			switch i % 8 {
			case 1:
				want[i] = tokenauth.ErrNotFound
			case 3:
				value, err := client.Do(t.Context(), client.B().Hget().Key(name).Field(field).Build()).ToString()
				if err != nil {
					t.Fatal(err)
				}
				do(t, client, "HSET", name, field, value[:len(value)-i])
				want[i] = tokenauth.ErrCorrupt
			case 5:
				do(t, client, "HSET", name, field, "")
				want[i] = tokenauth.ErrCorrupt
			case 7:
				do(t, client, "SET", name, "not a hash")
				want[i] = errWrongType
			}
		}
		for _, n := range []int{0, 1, 2, 64} {
			for i, f := range expectFound(t, s, slots[:n]) {
				is := errors.Is(f.Err, want[i])
				if want[i] == errWrongType {
					is = f.Err != nil && strings.HasPrefix(f.Err.Error(), "WRONGTYPE")
				}
				if !is {
					t.Errorf("FindBatch of %d slots: slot %d has error %v, want %v", n, i, f.Err, want[i])
				}
			}
		}
		for i := range slots {
			expectFound(t, s, slots[i:i+1])
		}
	})
}

// If one master of a cluster does not answer, FindBatch returns its error. It
// does not report the tokens on that master as missing.
func TestFindBatchFailsIfOneMasterFails(t *testing.T) {
	t.Parallel()
	servers := throwaway.StartRedisCluster(t)
	o := rueidis.ClientOption{DisableCache: true, DisableRetry: true}
	for _, server := range servers {
		o.InitAddress = append(o.InitAddress, option(t, server.DSN()).InitAddress...)
	}
	s := newStore(t, open(t, o), "")
	var slots []tokenauth.Slot
	for i := range 64 {
		token := newToken(fmt.Sprint("user", i), "", byte(i), time.Hour)
		if slots = append(slots, token.Slot); i%2 == 0 {
			replace(t, s, token)
		}
	}
	expectFound(t, s, slots)
	servers[1].Kill(t)
	failed := 0
	for n := range 64 {
		found, err := s.FindBatch(t.Context(), slots[:n+1])
		if err != nil && (found != nil || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt)) {
			t.Errorf("FindBatch of %d slots returns %v, error %v, want no results and an error of the connection", n+1, found, err)
		}
		if err != nil {
			failed++
			continue
		}
		for i, f := range found { // all of these slots are on other masters
			if (f.Err == nil) != (i%2 == 0) || f.Err != nil && !errors.Is(f.Err, tokenauth.ErrNotFound) {
				t.Errorf("FindBatch of %d slots: slot %d has error %v", n+1, i, f.Err)
			}
		}
	}
	if failed < 32 {
		t.Errorf("%d of 64 batches failed, want at least 32", failed)
	}
}
