package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// startBackends starts servers that answer with their name and the request.
func startBackends(t *testing.T, names ...string) (addrs []string) {
	t.Helper()
	for _, name := range names {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Got", strings.Join(r.Header.Values("X-Forwarded-For"), ",")+" "+r.Host+" "+r.Method+" "+string(body))
			io.WriteString(w, name)
		}))
		t.Cleanup(server.Close)
		addrs = append(addrs, server.Listener.Addr().String())
	}
	return addrs
}

// closedAddress returns an address without a listener.
func closedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func ask(t *testing.T, balancer, method string) (got, who string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, balancer+"/Token", strings.NewReader("a=b"))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "service.example"
	r.Header.Set("X-Forwarded-For", "192.0.2.1") // forged; the balancer must drop it
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%s: got %d, error %v, want 200", method, response.StatusCode, err)
	}
	return response.Header.Get("X-Got"), string(body)
}

// The balancer sends requests to the backends in turn and skips a closed one. It
// passes on body and Host, and sets X-Forwarded-For to the client's address.
func TestBalancerForwardsInTurn(t *testing.T) {
	t.Parallel()
	addrs := startBackends(t, "a", "b", "c")
	for name, test := range map[string]struct {
		addrs []string
		want  string // names of the backends that answered, sorted
	}{
		"all listen": {addrs, "aaabbbccc"},
		"one closed": {[]string{addrs[0], closedAddress(t), addrs[2]}, "aaacccccc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(newBalancer(test.addrs))
			defer server.Close()
			count := make(map[string]int)
			for i := range 9 {
				method := []string{"GET", "POST"}[i%2]
				got, who := ask(t, server.URL, method)
				if want := "127.0.0.1 service.example " + method + " a=b"; got != want {
					t.Errorf("the backend received %q, want %q", got, want)
				}
				count[who]++
			}
			answered := strings.Repeat("a", count["a"]) + strings.Repeat("b", count["b"]) + strings.Repeat("c", count["c"])
			if answered != test.want {
				t.Errorf("answered by %s, want %s", answered, test.want)
			}
		})
	}
}

func TestBalancerWithoutBackends(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newBalancer([]string{closedAddress(t)}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadGateway {
		t.Errorf("got %d, want 502", response.StatusCode)
	}
}
