package gormstore_test

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// This test is not parallel, because it replaces slog.Default().
func TestCreatingAClientIDWithAColonWarns(t *testing.T) {
	s, _ := engines[0].store(t)
	var b bytes.Buffer
	before, output, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(output) // undoes a side effect of slog.SetDefault
		log.SetFlags(flags)
	}()
	for id, warns := range map[string]bool{"web": false, "urn:web": true, ":": true} {
		for _, create := range []func() error{
			func() error { _, err := s.Clients().Create(t.Context(), tokenauth.Client{ID: id}); return err },
			func() error { return s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: id + "-public"}) },
		} {
			b.Reset()
			if err := create(); err != nil {
				t.Error(err)
			}
			if warned := strings.Contains(b.String(), "level=WARN") && strings.Contains(b.String(), "has a colon"); warned != warns {
				t.Errorf("%q: logged %q", id, b.String())
			}
			b.Reset()
			if err := create(); err == nil || b.Len() > 0 {
				t.Errorf("%q again: error %v, logged %q", id, err, b.String())
			}
		}
	}
}
