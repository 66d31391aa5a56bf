package main

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestTrialUsersNeedALoopbackAddress(t *testing.T) {
	t.Parallel()
	public, local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	s, err := openStore(t.Context(), storeURLs["sqlite"](t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := createTrialUsers(t.Context(), s, public); err == nil || !strings.Contains(err.Error(), "the store is empty") {
		t.Errorf("on a public address: error %v", err)
	}
	for _, want := range []bool{true, false} {
		if created, err := createTrialUsers(t.Context(), s, local); created != want || err != nil {
			t.Errorf("on a loopback address: got %v, %v", created, err)
		}
	}
	ids := map[string]string{"username": "user-1", "reader": "user-2", "mfa": "user-3"}
	for _, name := range []string{"username", "reader", "mfa"} {
		if _, err := createTrialUsers(t.Context(), s, public); err == nil || !strings.Contains(err.Error(), "the trial user \""+name+`"`) {
			t.Errorf("on a public address, with %s: error %v", name, err)
		}
		if err := s.table.SetPassword(t.Context(), ids[name], tokenauth.NewSecret("another")); err != nil {
			t.Fatal(err)
		}
	}
	if created, err := createTrialUsers(t.Context(), s, public); created || err != nil {
		t.Errorf("without the public passwords: got %v, %v", created, err)
	}
}

// A store with other users gets no trial users.
func TestKeepsUsers(t *testing.T) {
	t.Parallel()
	s, err := openStore(t.Context(), storeURLs["sqlite"](t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.table.Create(t.Context(), gormstore.User{Name: "alice"}, tokenauth.NewSecret("another")); err != nil {
		t.Fatal(err)
	}
	if created, err := createTrialUsers(t.Context(), s, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); created || err != nil {
		t.Errorf("got %v, %v", created, err)
	}
}

func TestRefusesFlags(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for want, c := range map[string]config{
		"choose another address":        {addr: taken.Addr().String(), store: "memory:"},
		"-store must begin with one of": {addr: "127.0.0.1:0", store: "oracle:x"},
		"needs the path of a file":      {addr: "127.0.0.1:0", store: "sqlite:"},
		"needs a URL":                   {addr: "127.0.0.1:0", store: "postgres:x"},
		"lets anyone guess passwords":   {addr: ":0", store: "memory:", unthrottled: true},
		"-origin must be":               {addr: "127.0.0.1:0", store: "memory:", origin: "https://app.example/"},
		"the store is empty":            {addr: ":0", store: "memory:"},
		"a storage that":                {addr: "127.0.0.1:0", store: "sqlite:" + filepath.Join(t.TempDir(), "x.db"), cache: true},
	} {
		if err := run(t.Context(), c, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("run(%+v): error %v, want one with %q", c, err, want)
		}
	}
}

// An origin that no browser sends would never match.
func TestOrigin(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]bool{
		"https://app.example": true, "http://localhost:3000": true, "http://[::1]:3000": true, "https://app.example:80": true, "capacitor://localhost": true,
		"https://app.example/": false, "https://": false, "https://:8443": false, "https://App.example": false, "https://app.example:443": false,
		"http://app.example:80": false, "https://me@app.example": false, "app.example": false, "null": false, "*": false,
	} {
		if got := isOrigin(origin); got != want {
			t.Errorf("isOrigin(%q) = %v", origin, got)
		}
	}
}

// Several processes may start on an empty store at the same time. On a busy machine,
// one may wait longer for another than SQLite does.
func TestProcessesStartTogether(t *testing.T) {
	t.Parallel()
	for _, name := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial.Run(t, func(t *trial.T) { startTogether(t, storeURLs[name](t.T)) })
		})
	}
}

func startTogether(t *trial.T, storeURL string) {
	start := func() error {
		s, err := openStore(t.Context(), storeURL)
		if err != nil {
			return err
		}
		defer s.close()
		_, err = createTrialUsers(t.Context(), s, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		return err
	}
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = start() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Late(err)
	}
	startSite(t.T, config{store: storeURL}).client(t.T).signIn("reader", "phone")
}
